"""Everything that follows a training step, in one hook that fixes the order."""

import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.checkpoint.files import remove_leftovers, remove_old_checkpoints

from .best_weights import BestWeights, best_metric
from .graph_images import GraphImages
from .random_state import get_random_state, set_random_state
from .stop_signals import StopRequest, TrainingStopped

logger = logging.getLogger(__name__)


class AfterStepHook(HookBase):
    """Evaluates, keeps the best weights, draws, writes metrics and checkpoints, and ends a run early.

    The lines of :meth:`after_step` are in the order in which these things happen. The reasons for this order:

    - an evaluation may take long and may fail: a checkpoint that is due is written before it, and again after it;
    - metrics are on the disk before the checkpoint, so that a resumed run need not repeat the evaluation;
    - the random state in a checkpoint is the one with which the resumed run has to continue.

    Register it in all processes of an :class:`egtr.engine.EGTRTrainer`, after every hook whose state belongs in a
    checkpoint.

    Args:
        request: says whether to stop.
        best: keeps the best weights; None: there is no metric to compare them by.
        images: draws graphs for TensorBoard; None: none are drawn.

    Attributes:
        ended: True if training ends now, before SOLVER.MAX_ITER: a signal has asked for it, or the metric no longer
            improves. The trainer's loop looks at it between steps.
        writers: write metrics.json, TensorBoard's events and the log; only on the main process.
    """

    # Iterations between two lines in the log and in metrics.json.
    WRITE_PERIOD = 20

    def __init__(self, request: StopRequest, best: BestWeights | None, images: GraphImages | None):
        self.request = request
        self.best = best
        self.images = images
        self.ended = False
        self.writers: list[EventWriter] = []
        self._random_states: list[dict[str, Any]] = []
        self._evaluated = -1
        self._written = -1

    @classmethod
    def from_config(cls, cfg: CfgNode, checkpointer: EGTRCheckpointer, request: StopRequest) -> "AfterStepHook":
        """Build the hook from DATASETS.TEST, TEST.BEST_METRIC and TEST.SCENE_GRAPH.VIS_IMAGES."""
        metric = best_metric(cfg)
        compares = metric and cfg.DATASETS.TEST
        draws = cfg.DATASETS.TEST and cfg.TEST.SCENE_GRAPH.VIS_IMAGES and cfg.MODEL.EGTR.RELATION.ENABLED
        return cls(
            request,
            BestWeights(checkpointer, metric, cfg.DATASETS.TEST) if compares else None,
            GraphImages(cfg) if draws and comm.is_main_process() else None,
        )

    def before_train(self) -> None:
        self.ended = False
        if comm.is_main_process():
            self.writers = self.trainer.build_writers()
            remove_leftovers(self.trainer.checkpointer.save_dir)
        last = self.trainer.start_iter - 1
        if last >= 0 and self.best is not None:
            self.best.read_score()
        if self._is_evaluation_due(last) and self._evaluated != last:
            logger.info("The checkpoint was written before the evaluation after iteration %d: it comes first", last)
            self.trainer.storage.iter = last
            self.ended = not self._evaluate(last)
            self.trainer.storage.iter = self.trainer.start_iter
        # A run that has stopped early does not go on when it is resumed.
        self.ended = self.ended or self._has_stopped_improving()

    def after_step(self) -> None:
        iteration = self.trainer.iter
        self.ended = self.request.any_received(next(self.trainer.bare_model.parameters()).device)
        evaluates = self._is_evaluation_due(iteration) and not self.ended
        saves = self._is_checkpoint_due(iteration)
        if evaluates:
            self._collect_random_states()
            if saves:
                self._save()
            if not self._evaluate(iteration):
                # Other processes may still be in the evaluation: nothing here may wait for them.
                self.ended = True
                if not saves:
                    self._save()
                return
        improves = not (evaluates and self._has_stopped_improving())
        self.ended = self.ended or not improves
        if evaluates or saves or self.ended or (iteration + 1) % self.WRITE_PERIOD == 0:
            self._write_metrics()
        if saves or self.ended:
            self._collect_random_states()
            self._save(final=not improves)

    def after_train(self) -> None:
        # After an error in one process, nothing may wait for the others.
        if self.trainer.iter >= self.trainer.max_iter:
            self._evaluate(self.trainer.max_iter - 1)
        if self.best is not None and comm.is_main_process():
            self.best.log_metrics()
        # Detectron2's log writer divides by the iterations since it last wrote.
        if self.trainer.storage.iter != self._written:
            self._write_metrics()
        for writer in self.writers:
            writer.close()

    def _is_evaluation_due(self, iteration: int) -> bool:
        """Return whether an evaluation follows the iteration, not counting the evaluation at the end of the run."""
        done, period = iteration + 1, self.trainer.cfg.TEST.EVAL_PERIOD
        return period > 0 and 0 < done < self.trainer.max_iter and done % period == 0

    def _is_checkpoint_due(self, iteration: int) -> bool:
        done = iteration + 1
        return done % self.trainer.cfg.SOLVER.CHECKPOINT_PERIOD == 0 or done >= self.trainer.max_iter

    def _has_stopped_improving(self) -> bool:
        """Return whether TEST.EARLY_STOPPING_PATIENCE is at its end; all processes must call it together."""
        patience = self.trainer.cfg.TEST.EARLY_STOPPING_PATIENCE
        # Only the main process knows results.
        if not patience or comm.all_gather(self.best.stale)[0] < patience:
            return False
        logger.info("%s has not improved in %d evaluations: training ends early", self.best.metric, patience)
        return True

    def _evaluate(self, iteration: int) -> bool:
        """Evaluate, keep the best weights and draw; return False if a signal has ended the evaluation."""
        try:
            with self.request.interrupting():
                results = flatten_results_dict(self.trainer.evaluate() or {})
                comm.synchronize()
        except TrainingStopped:
            return False
        self._evaluated = iteration
        if results:
            self.trainer.storage.put_scalars(**results, smoothing_hint=False)
            if self.best is not None:
                self.best.update(results, iteration, self.trainer.evaluated_model)
        if self.images is not None:
            self.images.draw(self.trainer.evaluated_model, self.trainer.storage)
        return True

    def _write_metrics(self) -> None:
        self._written = self.trainer.storage.iter
        for writer in self.writers:
            writer.write()

    def _collect_random_states(self) -> None:
        """Note the random state of all processes, which must call it together, for the next checkpoint."""
        self._random_states = comm.all_gather(get_random_state())

    def restore_random_states(self) -> None:
        """Set the random state of this process to the one in the checkpoint that was loaded, if there was one."""
        if len(self._random_states) == comm.get_world_size():
            set_random_state(self._random_states[comm.get_rank()])
        elif self._random_states:
            logger.info("The run continues with another number of processes: its random numbers start over")

    def _save(self, *, final: bool = False) -> None:
        """Write a checkpoint (on the main process) with the random states that were collected last.

        Args:
            final: call it ``model_final`` although SOLVER.MAX_ITER is not reached.
        """
        iteration, checkpointer = self.trainer.iter, self.trainer.checkpointer
        final = final or iteration + 1 >= self.trainer.max_iter
        checkpointer.save("model_final" if final else f"model_{iteration:07d}", iteration=iteration)
        keep = self.trainer.cfg.SOLVER.KEEP_CHECKPOINTS
        if keep and comm.is_main_process():
            remove_old_checkpoints(checkpointer.save_dir, keep, iteration)

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best is None else self.best.state_dict()
        return {"random_states": self._random_states, "evaluated": self._evaluated, "best": best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_states = state_dict["random_states"]
        self._evaluated = state_dict["evaluated"]
        if self.best is not None and state_dict["best"] is not None:
            self.best.load_state_dict(state_dict["best"])


def join_hook_states(states: dict[str, Any]) -> dict[str, Any]:
    """Give :class:`AfterStepHook` the states of the three hooks that version 0.1 had in its place.

    Args:
        states: name of a hook to its state.
    """
    old = ("CheckpointHook", "EvaluationHook", "BestCheckpointer")
    if old[0] not in states:
        return states
    joined = {"best": states.get("BestCheckpointer"), **states["CheckpointHook"], **states["EvaluationHook"]}
    return {name: state for name, state in states.items() if name not in old} | {"AfterStepHook": joined}
