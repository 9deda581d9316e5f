"""Training hooks."""

import logging
import math
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from .checkpointer import EGTRCheckpointer

logger = logging.getLogger(__name__)


class BestCheckpointer(HookBase):
    """Keeps the weights that scored highest as ``model_best.pth``: the model alone, its iteration and score.

    Unlike Detectron2's hook it remembers the best score over a resume, and a run never resumes from
    ``model_best``. Register it behind the evaluation hook. With several test data sets the first one decides.

    Args:
        metric: name in the event storage, for example "sgdet/R@50".
        datasets: cfg.DATASETS.TEST.
    """

    def __init__(self, checkpointer: EGTRCheckpointer, metric: str, datasets: tuple[str, ...] = ()):
        self.checkpointer = checkpointer
        self.metric = metric
        # Results of several data sets carry the name of their data set in front.
        self._key = f"{datasets[0]}/{metric}" if len(datasets) > 1 else metric
        self._seen: int | None = None
        self.best: float | None = None
        self.best_iteration: int | None = None

    def after_step(self) -> None:
        self._keep_if_best()

    def after_train(self) -> None:
        self._keep_if_best()

    def _keep_if_best(self) -> None:
        latest = self.trainer.storage.latest().get(self._key)
        if latest is None or latest[1] == self._seen:
            return
        value, self._seen = latest
        if not math.isfinite(value) or (self.best is not None and value <= self.best):
            return
        # At the end of training the storage has moved one past the last iteration.
        self.best, self.best_iteration = value, min(self._seen, self.trainer.max_iter - 1)
        path = self.checkpointer.save_weights(
            "model_best", iteration=self.best_iteration, metric=self.metric, score=value
        )
        if comm.is_main_process():
            logger.info("Best %s so far: %.4f; kept as %s", self.metric, value, path)

    def state_dict(self) -> dict[str, Any]:
        if self.best is None:
            return {}
        return {"metric": self.metric, "best": self.best, "best_iteration": self.best_iteration}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["metric"] == self.metric:
            self.best, self.best_iteration = state_dict["best"], state_dict["best_iteration"]
