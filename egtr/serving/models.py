"""Checkpoints to choose from."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from egtr.config import DEFAULT_MODEL
from egtr.structures import EGTRError, Predictor

from .limits import RefusedError

if TYPE_CHECKING:
    from detectron2.config import CfgNode


class ModelStore:
    """Models by name, each loaded when it is first asked for, and kept.

    Args:
        models: each the name of a shipped model, or a YAML file; ``FILE=WEIGHTS`` takes other weights than the
            file's MODEL.WEIGHTS. The first one is the default.
        opts: keys and values in turn, for all of them.

    Attributes:
        names: shipped models keep theirs; others are called by the stem of their weights or YAML file, with a number
            where that is taken.

    Raises:
        EGTRError: there is no such file or key. Weights are looked for when a model is loaded.
    """

    def __init__(self, models: Sequence[str] = (DEFAULT_MODEL,), opts: Sequence[str] = ()):
        # Here and in load(), because they import torch.
        from egtr.config import read_config

        self._configs: dict[str, CfgNode] = {}
        for entry in models:
            file, _, weights = entry.partition("=")
            more = ["MODEL.WEIGHTS", weights] if weights else []
            name = _free_name(Path(weights or file).stem, self._configs)
            self._configs[name] = read_config(file, [*opts, *more])
        if not self._configs:
            raise EGTRError("there is no model to serve; name at least one")
        self.names = tuple(self._configs)
        self._loaded: dict[str, Predictor] = {}
        self._failed: set[str] = set()

    @property
    def default(self) -> str:
        """The model that answers where none is named."""
        return self.names[0]

    def find(self, name: str | None) -> str:
        """The name itself, or the default.

        Raises:
            RefusedError: 404, there is no such model.
        """
        if name is not None and name not in self._configs:
            raise RefusedError(404, f"there is no model {name!r}; take one of: {', '.join(self.names)}")
        return name or self.default

    def load(self, name: str) -> Predictor:
        """The model, which is loaded now unless it has been. To be called by one thread at a time.

        Raises:
            EGTRError: it cannot be loaded; the next call tries again.
        """
        if name not in self._loaded:
            from egtr.inference import EGTRPredictor

            self._failed.discard(name)
            try:
                self._loaded[name] = EGTRPredictor(self._configs[name])
            except Exception:
                self._failed.add(name)
                raise
        return self._loaded[name]

    def state(self, name: str) -> str:
        """ "ready", "failed" (the last time), or "not loaded"."""
        if name in self._loaded:
            return "ready"
        return "failed" if name in self._failed else "not loaded"


def _free_name(stem: str, taken: dict[str, "CfgNode"]) -> str:
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem} {number}"
    return name
