"""Registries of the parts of the relation part that users can replace, each with its contract."""

import warnings
from collections.abc import Callable
from functools import partial

from detectron2.utils.registry import Registry
from torch import nn

from egtr._deprecated import REMOVED_IN
from egtr.structures import ConfigurationError


class PairRegistry(Registry):
    """A registry whose entries may be registered as pairwise, which means that they treat each pair on its own."""

    def __init__(self, name: str):
        super().__init__(name)
        self._pairwise: set[type] = set()

    def register(self, kind: type | None = None, *, pairwise: bool = False) -> type | Callable[[type], type]:
        """Register a class under its name; without ``kind``, return a decorator that does it.

        Args:
            kind: the class.
            pairwise: the class computes the result of a pair only from that pair, which makes inference faster. A
                subclass does not inherit this, because it may change a method: register it with ``pairwise`` again.
        """
        if kind is None:
            return partial(self.register, pairwise=pairwise)
        if "pairwise" in vars(kind):
            warnings.warn(
                f"{kind.__name__}: the attribute pairwise of the class becomes an argument: register(pairwise=True); "
                f"the attribute is no longer read from version {REMOVED_IN} on",
                DeprecationWarning,
                stacklevel=2,
            )
            pairwise = pairwise or vars(kind)["pairwise"]
        super().register(kind)
        if pairwise:
            self._pairwise.add(kind)
        return kind

    def is_pairwise(self, kind: type) -> bool:
        """Tell whether a class was registered with ``pairwise=True``."""
        return kind in self._pairwise


PAIR_FUNCTION_REGISTRY = PairRegistry("PAIR_FUNCTION")
PAIR_FUNCTION_REGISTRY.__doc__ = """
Functions that make the feature of a pair from a query vector and a key vector
(MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION).

An entry is a subclass of :class:`egtr.modeling.relation.PairFeatures`, built in each forward pass from projected
queries and keys; see there for the methods to override. If the feature is a term of the subject plus a term of the
object, derive from :class:`egtr.modeling.relation.SeparablePairs`, which needs fewer methods. If the class overrides
only these, register it with ``pairwise=True``: inference is then as fast as with ConcatPairs.
"""

RELATION_HEAD_REGISTRY = PairRegistry("RELATION_HEAD")
RELATION_HEAD_REGISTRY.__doc__ = """
Heads that score predicates (MODEL.EGTR.RELATION.HEAD).

An entry is an ``nn.Module`` class that is called as ``head(cfg, input_dim)``; input_dim is the width of a pair
feature. Its forward takes :class:`egtr.modeling.relation.PairFeatures` over N queries and returns relation logits
(B, N, N, R), subject first, R = cfg.MODEL.EGTR.NUM_PREDICATES. The frequency bias is added outside.

Optional: ``register(pairwise=True)`` says that the head reads pair features only by ``linear`` and ``apply``, and
computes the logits of each pair from that pair's feature. Inference then evaluates only promising pairs: these
methods and the result of the head have one row per pair, (P, R), in place of (B, N, N, R).
"""

CONNECTIVITY_HEAD_REGISTRY = Registry("CONNECTIVITY_HEAD")
CONNECTIVITY_HEAD_REGISTRY.__doc__ = """
Heads that tell whether any relation joins a pair (MODEL.EGTR.RELATION.CONNECTIVITY_HEAD).

An entry is built and called like one of RELATION_HEAD_REGISTRY; its forward returns logits (B, N, N).
"""

RELATION_TASK_REGISTRY = Registry("RELATION_TASK")
RELATION_TASK_REGISTRY.__doc__ = """
Auxiliary tasks on pairs, which are learned only to make pair features better (MODEL.EGTR.RELATION.TASKS). Inference
does not compute them.

An entry is a subclass of :class:`egtr.modeling.relation.RelationTask` that is called as ``task(cfg, input_dim)``; see
there for the methods to override.
"""


def get_entry(registry: Registry, name: str, key: str) -> type:
    """Look up an entry of a registry.

    Args:
        registry: the registry.
        name: name of the entry.
        key: the configuration key that holds the name, for the error message.

    Raises:
        ConfigurationError: the name is not registered; the message lists the known ones.
    """
    if name not in registry:
        known = ", ".join(sorted(name for name, _ in registry))
        raise ConfigurationError(
            f"{key}: {name!r} is not registered. Known: {known}. Import an entry of your own before the model is "
            f"built"
        )
    return registry.get(name)


def build_relation_head(cfg, input_dim: int) -> nn.Module:
    """Build the relation head that the configuration names."""
    name = cfg.MODEL.EGTR.RELATION.HEAD
    return get_entry(RELATION_HEAD_REGISTRY, name, "MODEL.EGTR.RELATION.HEAD")(cfg, input_dim)


def build_connectivity_head(cfg, input_dim: int) -> nn.Module | None:
    """Build the connectivity head that the configuration names, or return None for ""."""
    name = cfg.MODEL.EGTR.RELATION.CONNECTIVITY_HEAD
    if not name:
        return None
    return get_entry(CONNECTIVITY_HEAD_REGISTRY, name, "MODEL.EGTR.RELATION.CONNECTIVITY_HEAD")(cfg, input_dim)


def build_relation_tasks(cfg, input_dim: int) -> nn.ModuleDict:
    """Build the auxiliary tasks that the configuration names.

    Returns:
        Task name to task.

    Raises:
        ConfigurationError: a task is not registered, or two tasks have the same name.
    """
    key = "MODEL.EGTR.RELATION.TASKS"
    tasks = nn.ModuleDict()
    for entry in cfg.MODEL.EGTR.RELATION.TASKS:
        task = get_entry(RELATION_TASK_REGISTRY, entry, key)(cfg, input_dim)
        if task.name in tasks:
            raise ConfigurationError(
                f"{key} {list(cfg.MODEL.EGTR.RELATION.TASKS)}: two tasks are called {task.name!r}"
            )
        tasks[task.name] = task
    return tasks
