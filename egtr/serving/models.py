"""The models to choose from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from egtr.config import DEFAULT_MODEL
from egtr.inference.opening import open_predictor, runs_without_torch
from egtr.structures import ConfigurationError, Predictor

from .errors import RefusedError

if TYPE_CHECKING:
    from detectron2.config import CfgNode


class ModelStore:
    """Models by name, each loaded on first use, and kept.

    Args:
        models: names of models, exported models (``.onnx``, ``.xml``), or YAML files; ``FILE=WEIGHTS`` takes other
            weights than the MODEL.WEIGHTS of the file. Or a mapping from names to these, or to objects with a method
            ``predict()``. The first model is the default.
        opts: keys and values in turn, for all models in PyTorch that are loaded.
        providers: execution providers of exported models, see :class:`egtr.lite.LitePredictor`.

    Attributes:
        names: the keys of the mapping. Without a mapping, shipped models keep their names; others are named after
            their weights or YAML file without its suffix, with a number if that name is taken.

    Raises:
        ConfigurationError: there is no such file or key; or ``opts`` or ``providers`` concern no model. Weights are
            looked for when a model is loaded.
    """

    def __init__(
        self,
        models: Sequence[str] | Mapping[str, str | Predictor] = (DEFAULT_MODEL,),
        opts: Sequence[str] = (),
        providers: Sequence[str] = (),
    ):
        self._providers = providers
        # Exported models have no configuration; their names stand here.
        self._configs: dict[str, CfgNode | str] = {}
        self._loaded: dict[str, Predictor] = {}
        self._failed: set[str] = set()
        named = models if isinstance(models, Mapping) else _name_models(models)
        for name, model in named.items():
            if isinstance(model, str):
                self._configs[name] = model if runs_without_torch(model) else _read_config(model, opts)
            else:
                self._loaded[name] = model
        exported = [name for name, config in self._configs.items() if isinstance(config, str)]
        if opts and exported and len(exported) == len(self._configs):
            raise ConfigurationError(
                f"{opts[0]}: is a key for models in PyTorch, and exported models have no keys. Leave it out"
            )
        if providers and not exported:
            raise ConfigurationError(
                f"provider {', '.join(providers)}: is for exported models (.onnx, .xml), and none is served. "
                "Leave it out"
            )
        if not named:
            raise ConfigurationError("there is no model to serve; name at least one")
        self.names = tuple(named)

    @property
    def default(self) -> str:
        """The model that answers requests without a model name."""
        return self.names[0]

    def find(self, name: str | None) -> str:
        """Return the name itself, or the default model if it is None.

        Raises:
            RefusedError: 404, there is no such model.
        """
        if name is not None and name not in self.names:
            raise RefusedError(404, f"there is no model {name!r}; take one of: {', '.join(self.names)}")
        return name or self.default

    def load(self, name: str) -> Predictor:
        """Return a model, loaded first if necessary. Only one thread at a time may call this.

        Raises:
            EGTRError: it cannot be loaded; the next call tries again.
        """
        if name not in self._loaded:
            config = self._configs[name]
            self._failed.discard(name)
            try:
                providers = self._providers if isinstance(config, str) else ()
                self._loaded[name] = open_predictor(config, providers=providers)
            except Exception:
                self._failed.add(name)
                raise
        return self._loaded[name]

    def vocabulary(self, name: str) -> dict[str, tuple[str, ...] | None]:
        """Return the names of classes and predicates of a model; None before it is loaded, or if it has none."""
        model = self._loaded.get(name)
        return {
            "classes": getattr(model, "class_names", None),
            "predicates": getattr(model, "predicate_names", None),
        }

    def remembers(self, name: str) -> bool | None:
        """Return whether a model can remember images (``remember()``); None before it is loaded."""
        return hasattr(self._loaded[name], "remember") if name in self._loaded else None

    def state(self, name: str) -> str:
        """Return "ready", "failed" (the last time), or "not loaded"."""
        if name in self._loaded:
            return "ready"
        return "failed" if name in self._failed else "not loaded"


def _name_models(entries: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for entry in entries:
        file, _, weights = entry.partition("=")
        number, name = 1, (stem := Path(weights or file).stem)
        while name in named:
            number += 1
            name = f"{stem} {number}"
        named[name] = entry
    return named


def _read_config(entry: str, opts: Sequence[str]) -> "CfgNode":
    # Here, because it imports torch.
    from egtr.config import read_config

    file, _, weights = entry.partition("=")
    return read_config(file, [*opts, *(["MODEL.WEIGHTS", weights] if weights else [])])
