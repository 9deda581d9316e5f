"""The weights of a run that scored best."""

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from egtr.checkpoint.checkpointer import EGTRCheckpointer, load_checkpoint_file
from egtr.structures import EGTRError

logger = logging.getLogger(__name__)

FILE = "model_best"


def best_metric(cfg: CfgNode) -> str:
    """Return TEST.BEST_METRIC; "auto" becomes the first task's recall at the middle K, or AP50 without relations."""
    if cfg.TEST.BEST_METRIC != "auto":
        return cfg.TEST.BEST_METRIC
    if not cfg.MODEL.EGTR.RELATION.ENABLED:
        return "bbox/AP50"
    top_k = sorted(cfg.TEST.SCENE_GRAPH.TOPK)
    return f"{cfg.TEST.SCENE_GRAPH.TASKS[0]}/R@{top_k[len(top_k) // 2]}"


class BestWeights:
    """Keeps the weights that scored best as ``model_best.pth``: only the model, its iteration, score and metrics.

    The best score is the highest one; of "validation/...", which are losses, it is the lowest.
    A resumed run competes with the score in that file; a new run overwrites it. No run resumes from it.

    Args:
        metric: for example "sgdet/R@50".
        datasets: cfg.DATASETS.TEST; if there are several, the first one decides.

    Attributes:
        best: best score of this run so far; None before the first.
        stale: evaluations since then.
    """

    def __init__(self, checkpointer: EGTRCheckpointer, metric: str, datasets: tuple[str, ...] = ()):
        self.checkpointer = checkpointer
        self.metric = metric
        # Results of several datasets carry the name of their dataset in front.
        self._key = f"{datasets[0]}/{metric}" if len(datasets) > 1 else metric
        self._lowest = metric.startswith("validation/")
        self._kept: float | None = None
        self._kept_metrics: tuple[int, dict[str, float]] | None = None
        self.best: float | None = None
        self.stale = 0

    def read_score(self) -> None:
        """Read the score to beat from the file that this run wrote before it was interrupted."""
        path = os.path.join(self.checkpointer.save_dir, f"{FILE}.pth")
        if not os.path.isfile(path):
            return
        try:
            kept = load_checkpoint_file(path)
        except EGTRError as error:
            logger.warning("%s. The next good weights take its place", error)
            return
        if kept.get("metric") == self.metric:
            self._kept = kept["score"]
            # Files of version 0.2 hold no metrics.
            if "metrics" in kept:
                self._kept_metrics = kept["iteration"], kept["metrics"]
            # The checkpoint to resume from may hold no score.
            self.best = self._kept if self.best is None else self.best

    def update(self, results: Mapping[str, float], iteration: int, model: nn.Module) -> None:
        """Keep the weights of ``model`` if they are the best so far.

        Args:
            results: metric to value, from the evaluation after ``iteration``.
        """
        value = results.get(self._key)
        if value is None:
            message = "TEST.BEST_METRIC %r is not among the results, so no best weights are kept. There are: %s"
            logger.warning(message, self.metric, ", ".join(sorted(results)))
            return
        if not math.isfinite(value) or (self.best is not None and not self._better(value, self.best)):
            self.stale += 1
            return
        self.best, self.stale = value, 0
        # A run that was killed may have left weights that scored better after its last checkpoint.
        if self._kept is not None and not self._better(value, self._kept):
            return
        metrics = {name: float(number) for name, number in results.items()}
        extra = {"iteration": iteration, "metric": self.metric, "score": float(value), "metrics": metrics}
        path = self.checkpointer.save_weights(FILE, model, **extra)
        self._kept, self._kept_metrics = value, (iteration, metrics)
        logger.info("Best %s so far: %.4f; kept as %s", self.metric, value, path)

    def log_metrics(self) -> None:
        """Log the metrics of the weights that are kept, as the evaluation has found them that chose them."""
        if self._kept_metrics is None:
            return
        iteration, metrics = self._kept_metrics
        rows = "\n".join(f"  {name}: {value:.4f}" for name, value in metrics.items())
        logger.info(
            "%s.pth has the best %s, after iteration %d. Its metrics:\n%s", FILE, self.metric, iteration, rows
        )

    def _better(self, value: float, other: float) -> bool:
        return value < other if self._lowest else value > other

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "stale": self.stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Scores of another metric cannot be compared.
        if state_dict["metric"] == self.metric:
            self.best, self.stale = state_dict["best"], state_dict["stale"]
