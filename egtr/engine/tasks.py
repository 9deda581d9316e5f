"""An evaluation of several tasks, which differ in what the model is given."""

from collections.abc import Callable
from typing import Any

from detectron2.config import CfgNode


def evaluate_tasks(cfg: CfgNode, test: Callable[[CfgNode], dict[str, Any]]) -> dict[str, Any]:
    """Evaluate each of TEST.SCENE_GRAPH.TASKS, and join the results, whose metrics carry the task in their names.

    Args:
        cfg: with DATASETS.TEST.
        test: evaluates a configuration with one task, and returns metrics by task, by dataset if there are several.
    """
    tasks = cfg.TEST.SCENE_GRAPH.TASKS
    if len(tasks) == 1:
        return test(cfg)
    results: dict[str, Any] = {}
    for task in tasks:
        part = cfg.clone()
        part.defrost()
        part.TEST.SCENE_GRAPH.TASKS = [task]
        part.freeze()
        found = test(part)
        if len(cfg.DATASETS.TEST) == 1:
            results |= found
        else:
            results = {name: results.get(name, {}) | metrics for name, metrics in found.items()}
    return results
