"""Checks of a configuration, for faults that would otherwise end a run after hours, or spoil it unnoticed."""

import re
from collections.abc import Iterable

from detectron2.config import CfgNode

from egtr.evaluation.protocols import TASKS, get_protocols
from egtr.evaluation.scoring import check_top_k
from egtr.structures import ConfigurationError, EGTRError, WeightsError
from egtr.structures.prediction import OBJECT_SCORES

from .best_weights import best_metric


def check_scoring(cfg: CfgNode) -> None:
    """Check TEST.SCENE_GRAPH.

    Raises:
        ConfigurationError: a key has a value that evaluation does not understand.
    """
    keys = cfg.TEST.SCENE_GRAPH
    for key, check in (("PROTOCOLS", get_protocols), ("TOPK", check_top_k)):
        try:
            check(keys[key])
        except EGTRError as error:
            raise ConfigurationError(f"TEST.SCENE_GRAPH.{key}: {error}") from error
    unknown = [task for task in keys.TASKS if task not in TASKS]
    if unknown or not keys.TASKS or len(set(keys.TASKS)) < len(keys.TASKS):
        raise ConfigurationError(
            f"TEST.SCENE_GRAPH.TASKS is {list(keys.TASKS)}; give one or several of {', '.join(TASKS)}, each once"
        )
    if list(keys.TASKS) != ["sgdet"] and not cfg.MODEL.EGTR.RELATION.ENABLED:
        raise ConfigurationError(
            f"TEST.SCENE_GRAPH.TASKS is {list(keys.TASKS)}, but with MODEL.EGTR.RELATION.ENABLED False there are no "
            "scene graphs to score. Set it to sgdet, whose objects are still scored"
        )
    if keys.BOOTSTRAP < 0:
        raise ConfigurationError(
            f"TEST.SCENE_GRAPH.BOOTSTRAP is {keys.BOOTSTRAP}; give a number of resamples, or 0 for none"
        )
    if keys.SAVE_PREDICTIONS and not cfg.OUTPUT_DIR:
        raise ConfigurationError(
            "TEST.SCENE_GRAPH.SAVE_PREDICTIONS: OUTPUT_DIR is empty, so there is no place for them"
        )
    if not 0 <= keys.OBJECT_THRESHOLD <= 1:
        raise ConfigurationError(f"TEST.SCENE_GRAPH.OBJECT_THRESHOLD is {keys.OBJECT_THRESHOLD}; give 0 to 1")
    if keys.OBJECT_SCORE not in ("auto", *OBJECT_SCORES):
        raise ConfigurationError(
            f"TEST.SCENE_GRAPH.OBJECT_SCORE is {keys.OBJECT_SCORE!r}, choose one of auto, {', '.join(OBJECT_SCORES)}"
        )


def check_best_metric(cfg: CfgNode) -> None:
    """Check TEST.BEST_METRIC as far as possible before an evaluation: a trainer may have an evaluator of its own.

    Raises:
        ConfigurationError: it does not have the form task/metric, or an evaluation under ``cfg`` does not return it.
    """
    metric = cfg.TEST.BEST_METRIC
    if metric in ("", "auto") or not cfg.DATASETS.TEST:
        return
    where = f"TEST.BEST_METRIC is {metric!r}"
    if not re.fullmatch("[^/]+/[^/]+", metric):
        raise ConfigurationError(
            f"{where}; write task/metric, such as 'sgdet/R@50' or 'bbox/AP50', or '' to keep no best weights"
        )
    task, _, name = metric.partition("/")
    if task == "validation" and not cfg.TEST.VALIDATION_LOSS:
        raise ConfigurationError(f"{where}, but losses are not measured: set TEST.VALIDATION_LOSS True")
    first, *others = (protocol.name for protocol in get_protocols(cfg.TEST.SCENE_GRAPH.PROTOCOLS))
    wanted, tasks = next((name for name in TASKS if task.startswith(name)), None), list(cfg.TEST.SCENE_GRAPH.TASKS)
    if task in ("bbox", "open_images"):
        wanted = "sgdet"
    if wanted is not None and wanted not in tasks:
        raise ConfigurationError(
            f"{where}, but TEST.SCENE_GRAPH.TASKS is {tasks}. Take a metric of these, or add {wanted} to them"
        )
    if wanted is None or task in ("bbox", "open_images", f"{wanted}_open_images"):
        return
    if task not in (wanted, *(f"{wanted}_{protocol}" for protocol in others)):
        raise ConfigurationError(
            f"{where}, but TEST.SCENE_GRAPH.PROTOCOLS is {[first, *others]}. The metrics of the first protocol are "
            f"called {wanted}/..., those of the others {wanted}_<protocol>/..."
        )
    if not cfg.MODEL.EGTR.RELATION.ENABLED:
        raise ConfigurationError(
            f"{where}, but with MODEL.EGTR.RELATION.ENABLED False there are no scene graphs to score. "
            "Set TEST.BEST_METRIC auto or bbox/AP50"
        )
    top_k, k = list(cfg.TEST.SCENE_GRAPH.TOPK), name.partition("@")[2]
    if k.isdecimal() and int(k) not in top_k:
        raise ConfigurationError(
            f"{where}, but TEST.SCENE_GRAPH.TOPK is {top_k}. Take a K of these, or add {k} to them"
        )


def check_early_stopping(cfg: CfgNode) -> None:
    """Check TEST.EARLY_STOPPING_PATIENCE.

    Raises:
        ConfigurationError: it is negative, or there is no metric or no evaluation to wait for.
    """
    patience = cfg.TEST.EARLY_STOPPING_PATIENCE
    if patience < 0:
        raise ConfigurationError(
            f"TEST.EARLY_STOPPING_PATIENCE is {patience}; give a number of evaluations, or 0 for never"
        )
    if patience and not (cfg.DATASETS.TEST and cfg.TEST.EVAL_PERIOD > 0 and best_metric(cfg)):
        raise ConfigurationError(
            f"TEST.EARLY_STOPPING_PATIENCE is {patience}, but nothing is evaluated during training: set "
            "DATASETS.TEST, TEST.EVAL_PERIOD and TEST.BEST_METRIC, or TEST.EARLY_STOPPING_PATIENCE 0"
        )


def check_checkpoints(cfg: CfgNode) -> None:
    """Check SOLVER.CHECKPOINT_PERIOD and SOLVER.KEEP_CHECKPOINTS.

    Raises:
        ConfigurationError: the period is not positive, or the number of checkpoints is negative.
    """
    keep, period = cfg.SOLVER.KEEP_CHECKPOINTS, cfg.SOLVER.CHECKPOINT_PERIOD
    if keep < 0:
        raise ConfigurationError(f"SOLVER.KEEP_CHECKPOINTS is {keep}; give a number of checkpoints, or 0 to keep all")
    if period < 1:
        raise ConfigurationError(f"SOLVER.CHECKPOINT_PERIOD is {period}; give a number of iterations")


def check_frozen(cfg: CfgNode, new_parameters: Iterable[str], frozen_parameters: Iterable[str] = ()) -> None:
    """Refuse to freeze parameters that MODEL.WEIGHTS did not bring: they would stay random for good.

    Args:
        new_parameters: names of the parameters that the weights did not bring.
        frozen_parameters: names of the parameters that SOLVER.LR_MULTIPLIERS freezes.

    Raises:
        WeightsError: MODEL.EGTR.FREEZE_DETECTOR is True and some new parameters are the transformer's, such as class
            heads for other labels, or SOLVER.LR_MULTIPLIERS freezes one that is not the backbone's.
    """
    new_parameters = list(new_parameters)
    missing = [name for name in new_parameters if name.startswith("transformer.")]
    if cfg.MODEL.EGTR.FREEZE_DETECTOR and missing:
        raise WeightsError(
            f"MODEL.EGTR.FREEZE_DETECTOR is True, but MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} lacks {len(missing)} "
            f"parameters of the detector, or has them in another shape or for other classes; the first is "
            f"{missing[0]}. They would stay random. Set FREEZE_DETECTOR False, or train a detector on these classes "
            "first"
        )
    # A backbone may get its weights from timm.
    frozen = set(frozen_parameters)
    missing = [name for name in new_parameters if name in frozen and not name.startswith("backbone.")]
    if missing:
        raise WeightsError(
            f"SOLVER.LR_MULTIPLIERS freezes {missing[0]}, which MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} lacks or has in "
            "another shape or for other labels. It would stay random. Leave it out of the patterns with multiple 0"
        )
