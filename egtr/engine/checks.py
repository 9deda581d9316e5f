"""What would otherwise fail hours into a run, or spoil it unseen."""

import re
from collections.abc import Iterable

from detectron2.config import CfgNode

from egtr.evaluation.protocols import get_protocols
from egtr.evaluation.scoring import check_topk
from egtr.structures import EGTRError
from egtr.structures.prediction import OBJECT_SCORES


def check_scoring(cfg: CfgNode) -> None:
    """Check TEST.SCENE_GRAPH.

    Raises:
        EGTRError: a key has a value that evaluation does not understand.
    """
    keys = cfg.TEST.SCENE_GRAPH
    for key, check in (("PROTOCOLS", get_protocols), ("TOPK", check_topk)):
        try:
            check(keys[key])
        except EGTRError as error:
            raise EGTRError(f"TEST.SCENE_GRAPH.{key}: {error}") from error
    if keys.BOOTSTRAP < 0:
        raise EGTRError(f"TEST.SCENE_GRAPH.BOOTSTRAP is {keys.BOOTSTRAP}; give a number of resamples, or 0 for none")
    if keys.SAVE_PREDICTIONS and not cfg.OUTPUT_DIR:
        raise EGTRError("TEST.SCENE_GRAPH.SAVE_PREDICTIONS: OUTPUT_DIR is empty, so there is no place for them")
    if keys.OBJECT_SCORE not in OBJECT_SCORES:
        raise EGTRError(
            f"TEST.SCENE_GRAPH.OBJECT_SCORE is {keys.OBJECT_SCORE!r}, choose one of {', '.join(OBJECT_SCORES)}"
        )


def best_metric(cfg: CfgNode) -> str:
    """TEST.BEST_METRIC, with "auto" resolved: recall of the middle K, or AP50 where there is only a detector."""
    if cfg.TEST.BEST_METRIC != "auto":
        return cfg.TEST.BEST_METRIC
    if not cfg.MODEL.EGTR.RELATION.ENABLED:
        return "bbox/AP50"
    topk = sorted(cfg.TEST.SCENE_GRAPH.TOPK)
    return f"sgdet/R@{topk[len(topk) // 2]}"


def check_best_metric(cfg: CfgNode) -> None:
    """Check TEST.BEST_METRIC, as far as one can know without evaluating: a trainer may bring its own evaluator.

    Raises:
        EGTRError: it has not the form task/metric, or evaluation under ``cfg`` cannot have it among its results.
    """
    metric = cfg.TEST.BEST_METRIC
    if metric in ("", "auto") or not cfg.DATASETS.TEST:
        return
    where = f"TEST.BEST_METRIC is {metric!r}"
    if not re.fullmatch("[^/]+/[^/]+", metric):
        raise EGTRError(f"{where}; write task/metric, such as 'sgdet/R@50' or 'bbox/AP50', or '' to keep no best one")
    task, _, name = metric.partition("/")
    first, *others = cfg.TEST.SCENE_GRAPH.PROTOCOLS
    if not task.startswith("sgdet"):
        return
    if task not in ("sgdet", *(f"sgdet_{protocol}" for protocol in others)):
        raise EGTRError(
            f"{where}, but TEST.SCENE_GRAPH.PROTOCOLS is {[first, *others]}. The metrics of the first protocol are "
            "called sgdet/..., those of the others sgdet_<protocol>/..."
        )
    if not cfg.MODEL.EGTR.RELATION.ENABLED:
        raise EGTRError(
            f"{where}, but with MODEL.EGTR.RELATION.ENABLED False there are no scene graphs to score. "
            "Set TEST.BEST_METRIC auto or bbox/AP50"
        )
    topk, k = list(cfg.TEST.SCENE_GRAPH.TOPK), name.partition("@")[2]
    if k.isdecimal() and int(k) not in topk:
        raise EGTRError(f"{where}, but TEST.SCENE_GRAPH.TOPK is {topk}. Take a K of these, or add {k} to them")


def check_frozen(cfg: CfgNode, new_parameters: Iterable[str]) -> None:
    """Refuse to freeze a detector that MODEL.WEIGHTS brought in part: the rest would stay random for good.

    Args:
        new_parameters: names of those that the weights did not bring.

    Raises:
        EGTRError: MODEL.EGTR.FREEZE_DETECTOR is True and some of them are the transformer's, such as the class heads
            of another label set.
    """
    missing = [name for name in new_parameters if name.startswith("transformer.")]
    if cfg.MODEL.EGTR.FREEZE_DETECTOR and missing:
        raise EGTRError(
            f"MODEL.EGTR.FREEZE_DETECTOR is True, but MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} lacks {len(missing)} "
            f"parameters of the detector, or has them in another shape; the first is {missing[0]}. They would stay "
            "random. Set FREEZE_DETECTOR False, or train a detector on these classes first"
        )
