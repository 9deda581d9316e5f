"""Registries of what a user swaps in the relation part, each with its contract."""

from detectron2.utils.registry import Registry
from torch import nn

from egtr.structures import EGTRError

PAIR_FUNCTION_REGISTRY = Registry("PAIR_FUNCTION")
PAIR_FUNCTION_REGISTRY.__doc__ = """
How a query vector and a key vector become the feature of a pair (MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION).

An entry is a subclass of :class:`egtr.modeling.relation.PairFeatures`, built per forward pass from projected
queries and keys; see there for the methods to override. One that is a part of the subject plus a part of the object
may rather be a :class:`egtr.modeling.relation.SeparablePairs`, which has fewer, and say ``pairwise = True`` in its
class if it overrides nothing else: then inference is fast, as with ConcatPairs.
"""

RELATION_HEAD_REGISTRY = Registry("RELATION_HEAD")
RELATION_HEAD_REGISTRY.__doc__ = """
What scores predicates (MODEL.EGTR.RELATION.HEAD).

An entry is an ``nn.Module`` class that is called as ``head(cfg, input_dim)``, input_dim being the width of a pair
feature, and whose forward takes :class:`egtr.modeling.relation.PairFeatures` over N queries and returns relation
logits (B, N, N, R), subject first, R = cfg.MODEL.EGTR.NUM_PREDICATES. The frequency bias is added outside.

Optional: a head that reads pair features by their ``linear`` and ``apply`` alone, and computes each pair's logits
from that pair's feature, says ``pairwise = True`` in its class. Inference then asks it about promising pairs alone:
these methods and its result have one row a pair then, (P, R), in place of (B, N, N, R). A subclass does not inherit
the promise, it has to give it again.
"""

CONNECTIVITY_HEAD_REGISTRY = Registry("CONNECTIVITY_HEAD")
CONNECTIVITY_HEAD_REGISTRY.__doc__ = """
What tells whether any relation joins a pair (MODEL.EGTR.RELATION.CONNECTIVITY_HEAD).

Called and built like an entry of RELATION_HEAD_REGISTRY; forward returns logits (B, N, N).
"""

RELATION_TASK_REGISTRY = Registry("RELATION_TASK")
RELATION_TASK_REGISTRY.__doc__ = """
What is learned about pairs beside predicates and connectivity, for the sake of better pair features
(MODEL.EGTR.RELATION.TASKS). Nothing of it is needed, or computed, at inference.

An entry is a subclass of :class:`egtr.modeling.relation.RelationTask` that is called as ``task(cfg, input_dim)``; see
there for what it has to say.
"""


def get_entry(registry: Registry, name: str, key: str) -> type:
    """Look up ``name``, with an error that lists what there is.

    Raises:
        EGTRError: ``name`` is not registered. ``key`` is the configuration key that holds it.
    """
    if name not in registry:
        known = ", ".join(sorted(name for name, _ in registry))
        raise EGTRError(
            f"{key}: {name!r} is not registered. Known: {known}. An entry of your own must be imported before the "
            f"model is built"
        )
    return registry.get(name)


def build_relation_head(cfg, input_dim: int) -> nn.Module:
    """The relation head that the configuration names."""
    name = cfg.MODEL.EGTR.RELATION.HEAD
    return get_entry(RELATION_HEAD_REGISTRY, name, "MODEL.EGTR.RELATION.HEAD")(cfg, input_dim)


def build_connectivity_head(cfg, input_dim: int) -> nn.Module | None:
    """The connectivity head that the configuration names, or None for ""."""
    name = cfg.MODEL.EGTR.RELATION.CONNECTIVITY_HEAD
    if not name:
        return None
    return get_entry(CONNECTIVITY_HEAD_REGISTRY, name, "MODEL.EGTR.RELATION.CONNECTIVITY_HEAD")(cfg, input_dim)


def build_relation_tasks(cfg, input_dim: int) -> nn.ModuleDict:
    """The auxiliary tasks that the configuration names, under the names of their losses.

    Raises:
        EGTRError: a task is not registered, or two have the same name.
    """
    key = "MODEL.EGTR.RELATION.TASKS"
    tasks = nn.ModuleDict()
    for entry in cfg.MODEL.EGTR.RELATION.TASKS:
        task = get_entry(RELATION_TASK_REGISTRY, entry, key)(cfg, input_dim)
        if task.name in tasks:
            raise EGTRError(f"{key} {list(cfg.MODEL.EGTR.RELATION.TASKS)}: two tasks are called {task.name!r}")
        tasks[task.name] = task
    return tasks
