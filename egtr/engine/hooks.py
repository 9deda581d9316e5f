"""Training hooks."""

import logging
import math
import os
from typing import Any

from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from egtr.checkpoint.checkpointer import EGTRCheckpointer, load_checkpoint_file
from egtr.data.broken import SkipBroken
from egtr.structures import EGTRError

from .checkpoint_hook import CheckpointHook, EvaluationHook
from .ema import EMAHook
from .stopping import EarlyStopped

logger = logging.getLogger(__name__)


class BestCheckpointer(HookBase):
    """Keeps the weights that scored highest as ``model_best.pth``: the model alone, its iteration and score.

    A resumed run competes with the score in that file, a new run overwrites it. Unlike with Detectron2's hook a
    run never resumes from ``model_best``. Register it behind the evaluation hook. With several test datasets the
    first one decides.

    Args:
        metric: name in the event storage, for example "sgdet/R@50".
        datasets: cfg.DATASETS.TEST.
        ema: where the evaluated weights are, if they are not the trained ones.

    Attributes:
        best: highest score of this run so far; None before the first.
        stale: evaluations since then.
    """

    FILE = "model_best"

    def __init__(
        self,
        checkpointer: EGTRCheckpointer,
        metric: str,
        datasets: tuple[str, ...] = (),
        ema: EMAHook | None = None,
    ):
        self.checkpointer = checkpointer
        self.metric = metric
        # Results of several datasets carry the name of their dataset in front.
        self._key = f"{datasets[0]}/{metric}" if len(datasets) > 1 else metric
        self._ema = ema
        self._seen: int | None = None
        self._kept: float | None = None
        self.best: float | None = None
        self.stale = 0

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            self._kept = self._score_on_disk()
            # None in checkpoints that hold no state of this hook.
            self.best = self._kept if self.best is None else self.best
        # A resumed run may begin with an evaluation.
        self._keep_if_best()

    def _score_on_disk(self) -> float | None:
        path = os.path.join(self.checkpointer.save_dir, f"{self.FILE}.pth")
        if not os.path.isfile(path):
            return None
        try:
            kept = load_checkpoint_file(path)
        except EGTRError as error:
            logger.warning("%s. The next good weights take its place", error)
            return None
        return kept["score"] if kept.get("metric") == self.metric else None

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
            self.stale += 1
            return
        self.best, self.stale = value, 0
        # A run that was killed may have left weights that scored higher after its last checkpoint.
        if self._kept is not None and value <= self._kept:
            return
        # After the last step the storage counts one further than the last iteration.
        iteration = min(self._seen, self.trainer.max_iter - 1)
        path = self.checkpointer.save_weights(
            self.FILE, self._ema and self._ema.model, iteration=iteration, metric=self.metric, score=value
        )
        self._kept = value
        logger.info("Best %s so far: %.4f; kept as %s", self.metric, value, path)

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "stale": self.stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Scores of another metric say nothing.
        if state_dict["metric"] == self.metric:
            self.best, self.stale = state_dict["best"], state_dict["stale"]


class EarlyStoppingHook(HookBase):
    """Ends training when the metric of ``best`` has not risen in ``patience`` evaluations in succession.

    The last checkpoint is then ``model_final``, as after SOLVER.MAX_ITER. Register it in all processes, behind
    ``best``.

    Args:
        patience: evaluations, at least 1.
    """

    def __init__(
        self, best: BestCheckpointer, patience: int, evaluation: EvaluationHook, checkpoints: CheckpointHook
    ):
        self.best = best
        self.patience = patience
        self.evaluation = evaluation
        self.checkpoints = checkpoints

    def before_train(self) -> None:
        # A run that has stopped early does not go on when it is resumed.
        if self._is_hopeless():
            raise EarlyStopped

    def after_step(self) -> None:
        if self.evaluation.is_due(self.trainer.iter) and self._is_hopeless():
            self.checkpoints.collect_random_states()
            self.checkpoints.save(final=True)
            logger.info("%s has not risen in %d evaluations: training ends early", self.best.metric, self.patience)
            raise EarlyStopped

    def _is_hopeless(self) -> bool:
        # The main process alone knows results.
        return comm.all_gather(self.best.stale)[0] >= self.patience


class MetricsHook(hooks.PeriodicWriter):
    """Detectron2's hook, which also writes whenever an evaluation or a checkpoint is due.

    What a checkpoint knows of is on the disk then: a run that resumes from it does not measure it again.

    Args:
        writers: of metrics.json, of TensorBoard and of the log.
    """

    def __init__(self, writers: list[EventWriter], evaluation: EvaluationHook, checkpoints: CheckpointHook):
        super().__init__(writers)
        self.writers = writers
        self.evaluation = evaluation
        self.checkpoints = checkpoints

        self._written = -1

    def after_step(self) -> None:
        if self.evaluation.is_due(self.trainer.iter) or self.checkpoints.is_due():
            self._written = self.trainer.iter
            for writer in self.writers:
                writer.write()
        else:
            super().after_step()

    def after_train(self) -> None:
        # Detectron2's log writer divides by the iterations since it last wrote.
        if self.trainer.storage.iter != self._written:
            super().after_train()
        else:
            for writer in self.writers:
                writer.close()


class BrokenImageReporter(HookBase):
    """Says at the end of a run which images it has left out (DATALOADER.SKIP_BROKEN).

    Args:
        images: of the training loader, see :func:`egtr.data.build.skipped_by`.
    """

    def __init__(self, images: SkipBroken):
        self.images = images

    def after_train(self) -> None:
        broken = self.images.broken()
        # A run that failed may have failed in one process alone: the others must not wait for it.
        if self.trainer.iter >= self.trainer.max_iter:
            broken = sorted(set().union(*comm.all_gather(broken)))
        if broken or self.images.unsound:
            logger.warning("DATALOADER.SKIP_BROKEN: in training %s", self.images.describe(broken))
        else:
            logger.info("DATALOADER.SKIP_BROKEN: no broken image was met in training")
