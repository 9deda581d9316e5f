"""Training hooks."""

import logging
import math
import os

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from egtr.data.broken import SkipBroken

from .checkpointer import EGTRCheckpointer

logger = logging.getLogger(__name__)


class BestCheckpointer(HookBase):
    """Keeps the weights that scored highest as ``model_best.pth``: the model alone, its iteration and score.

    A resumed run competes with the score in that file, a new run overwrites it. Unlike with Detectron2's hook a
    run never resumes from ``model_best``. Register it behind the evaluation hook. With several test data sets the
    first one decides.

    Args:
        metric: name in the event storage, for example "sgdet/R@50".
        datasets: cfg.DATASETS.TEST.
    """

    FILE = "model_best"

    def __init__(self, checkpointer: EGTRCheckpointer, metric: str, datasets: tuple[str, ...] = ()):
        self.checkpointer = checkpointer
        self.metric = metric
        # Results of several data sets carry the name of their data set in front.
        self._key = f"{datasets[0]}/{metric}" if len(datasets) > 1 else metric
        self._seen: int | None = None
        self.best: float | None = None

    def before_train(self) -> None:
        path = os.path.join(self.checkpointer.save_dir, f"{self.FILE}.pth")
        if self.trainer.start_iter > 0 and os.path.isfile(path):
            kept = torch.load(path, map_location="cpu", weights_only=True)
            if kept.get("metric") == self.metric:
                self.best = kept["score"]

    def after_step(self) -> None:
        self._keep_if_best()

    def after_train(self) -> None:
        self._keep_if_best()
        evaluated = [name for name in self.trainer.storage.latest() if "/" in name]
        if evaluated and self._seen is None and comm.is_main_process():
            logger.warning(
                "TEST.BEST_METRIC %r is not among the results, so no best checkpoint was kept. There are: %s",
                self.metric,
                ", ".join(sorted(evaluated)),
            )

    def _keep_if_best(self) -> None:
        latest = self.trainer.storage.latest().get(self._key)
        if latest is None or latest[1] == self._seen:
            return
        value, self._seen = latest
        if not math.isfinite(value) or (self.best is not None and value <= self.best):
            return
        self.best = value
        # After the last step the storage counts one further than the last iteration.
        iteration = min(self._seen, self.trainer.max_iter - 1)
        path = self.checkpointer.save_weights(self.FILE, iteration=iteration, metric=self.metric, score=value)
        logger.info("Best %s so far: %.4f; kept as %s", self.metric, value, path)


class BrokenPictureReporter(HookBase):
    """Says at the end of a run which pictures it has left out (DATALOADER.SKIP_BROKEN).

    Args:
        pictures: of the training loader, see :func:`egtr.data.build.skipped_by`.
    """

    def __init__(self, pictures: SkipBroken):
        self.pictures = pictures

    def after_train(self) -> None:
        broken = self.pictures.broken()
        # A run that failed may have failed in one process alone: the others must not wait for it.
        if self.trainer.iter >= self.trainer.max_iter:
            broken = sorted(set().union(*comm.all_gather(broken)))
        if broken or self.pictures.unsound:
            logger.warning("DATALOADER.SKIP_BROKEN: in training %s", self.pictures.describe(broken))
        else:
            logger.info("DATALOADER.SKIP_BROKEN: no broken picture was met in training")
