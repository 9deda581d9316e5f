"""The models to choose from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from egtr.config import DEFAULT_MODEL
from egtr.structures import ConfigurationError, Predictor

from .errors import RefusedError

if TYPE_CHECKING:
    from detectron2.config import CfgNode


class ModelStore:
    """Models by name, each loaded when it is first asked for, and kept.

    Args:
        models: each the name of a shipped model, or a YAML file; ``FILE=WEIGHTS`` takes other weights than the
            file's MODEL.WEIGHTS. Or a mapping from names to these, or to objects with a method ``predict()``. The
            first one is the default.
        opts: keys and values in turn, for all that are loaded.

    Attributes:
        names: keys of the mapping. Otherwise shipped models keep theirs; others are called by the stem of their
            weights or YAML file, with a number where that is taken.

    Raises:
        ConfigurationError: there is no such file or key. Weights are looked for when a model is loaded.
    """

    def __init__(
        self,
        models: Sequence[str] | Mapping[str, str | Predictor] = (DEFAULT_MODEL,),
        opts: Sequence[str] = (),
    ):
        self._configs: dict[str, CfgNode] = {}
        self._loaded: dict[str, Predictor] = {}
        self._failed: set[str] = set()
        named = models if isinstance(models, Mapping) else _name_models(models)
        for name, model in named.items():
            if isinstance(model, str):
                self._configs[name] = _read_config(model, opts)
            else:
                self._loaded[name] = model
        if not named:
            raise ConfigurationError("there is no model to serve; name at least one")
        self.names = tuple(named)

    @property
    def default(self) -> str:
        """The model that answers where none is named."""
        return self.names[0]

    def find(self, name: str | None) -> str:
        """Return the name itself, or the default.

        Raises:
            RefusedError: 404, there is no such model.
        """
        if name is not None and name not in self.names:
            raise RefusedError(404, f"there is no model {name!r}; take one of: {', '.join(self.names)}")
        return name or self.default

    def load(self, name: str) -> Predictor:
        """Return a model, and load it first unless it has been loaded. One thread at a time may call this.

        Raises:
            EGTRError: it cannot be loaded; the next call tries again.
        """
        if name not in self._loaded:
            # Here, because it imports torch.
            from egtr.inference import EGTRPredictor

            self._failed.discard(name)
            try:
                self._loaded[name] = EGTRPredictor(self._configs[name])
            except Exception:
                self._failed.add(name)
                raise
        return self._loaded[name]

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
