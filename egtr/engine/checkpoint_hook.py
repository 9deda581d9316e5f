"""When checkpoints are written and what they hold beside the model, so that a resumed run is the same run."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from detectron2.engine import HookBase, hooks
from detectron2.utils import comm

from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.checkpoint.files import remove_leftovers, remove_old_checkpoints
from egtr.structures import EGTRError

from .random_state import get_random_state, set_random_state
from .stopping import StopRequest, TrainingStopped

logger = logging.getLogger(__name__)


class CheckpointHook(HookBase):
    """Writes checkpoints, with the random state of every process in them, and ends the run on request.

    A checkpoint is written every ``period`` iterations as ``model_<iteration>.pth``, after the last one as
    ``model_final.pth``, and when a signal asks the run to stop. Register it in all processes, behind every hook whose
    state belongs into a checkpoint.

    Args:
        period: SOLVER.CHECKPOINT_PERIOD, in iterations.
        keep: how many periodic checkpoints stay, the newest; 0: all.
        request: whether to stop.

    Raises:
        EGTRError: ``keep`` is negative or ``period`` not positive.
    """

    def __init__(self, checkpointer: EGTRCheckpointer, period: int, keep: int, request: StopRequest):
        if keep < 0:
            raise EGTRError(f"SOLVER.KEEP_CHECKPOINTS is {keep}; give a number of checkpoints, or 0 to keep all")
        if period < 1:
            raise EGTRError(f"SOLVER.CHECKPOINT_PERIOD is {period}; give a number of iterations")
        self.checkpointer = checkpointer
        self.period = period
        self.keep = keep
        self.request = request
        self._random_states: list[dict[str, Any]] = []
        self._stopping = False

    def before_train(self) -> None:
        if comm.is_main_process() and self.checkpointer.save_dir:
            remove_leftovers(self.checkpointer.save_dir)

    def before_step(self) -> None:
        # Not right after the checkpoint: hooks behind this one have their turn first.
        if self._stopping:
            raise TrainingStopped

    def after_step(self) -> None:
        self._stopping = self.is_stopping()
        if self._stopping or self.is_due():
            self.collect_random_states()
            self.save()

    def is_stopping(self) -> bool:
        """Whether any process has been asked to stop; all must call it together."""
        return self.request.any_received(next(self.checkpointer.model.parameters()).device)

    def is_due(self) -> bool:
        """Whether a checkpoint follows this iteration."""
        return (self.trainer.iter + 1) % self.period == 0 or self._is_last()

    def _is_last(self) -> bool:
        return self.trainer.iter + 1 >= self.trainer.max_iter

    def restore_random_states(self) -> None:
        """Set the random state of this process to that in the checkpoint that was loaded, if there was one."""
        if len(self._random_states) == comm.get_world_size():
            set_random_state(self._random_states[comm.get_rank()])
        elif self._random_states:
            logger.info("The run goes on with another number of processes: random numbers begin anew")

    def collect_random_states(self) -> None:
        """Note the random state of all processes, which must call it together, for the next checkpoint."""
        self._random_states = comm.all_gather(get_random_state())

    def save(self, *, final: bool = False) -> None:
        """Write a checkpoint (on the main process) with the random states that were collected last.

        Args:
            final: call it ``model_final`` although SOLVER.MAX_ITER is not reached.
        """
        iteration = self.trainer.iter
        name = "model_final" if final or self._is_last() else f"model_{iteration:07d}"
        self.checkpointer.save(name, iteration=iteration)
        if self.keep and comm.is_main_process():
            remove_old_checkpoints(self.checkpointer.save_dir, self.keep, iteration)

    def state_dict(self) -> dict[str, Any]:
        return {"random_states": self._random_states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_states = state_dict["random_states"]


class EvaluationHook(hooks.EvalHook):
    """Detectron2's hook, which in a resumed run makes up for an evaluation that its checkpoint does not know of.

    A checkpoint that is due is written before an evaluation, which may take long and may fail. A signal ends an
    evaluation at once.

    Args:
        period: TEST.EVAL_PERIOD.
        function: returns the results.
        checkpoints: writes checkpoints.
    """

    def __init__(self, period: int, function: Callable[[], Any], checkpoints: CheckpointHook):
        super().__init__(period, function)
        self.checkpoints = checkpoints
        self._evaluated = -1

    def before_train(self) -> None:
        last = self.trainer.start_iter - 1
        if self.is_due(last) and self._evaluated != last:
            logger.info("The checkpoint was written before the evaluation after iteration %d: it comes first", last)
            self.trainer.storage.iter = last
            self._evaluate()
            self.trainer.storage.iter = self.trainer.start_iter

    def after_step(self) -> None:
        if not self.is_due(self.trainer.iter) or self.checkpoints.is_stopping():
            return
        self.checkpoints.collect_random_states()
        saved = self.checkpoints.is_due()
        if saved:
            self.checkpoints.save()
        try:
            self._evaluate()
        except TrainingStopped:
            if not saved:
                self.checkpoints.save()
            raise
        self._evaluated = self.trainer.iter

    def after_train(self) -> None:
        # A run that is asked to stop has no time for the last evaluation: --resume makes up for it. The trainer ends
        # the run when all hooks have had their turn.
        with suppress(TrainingStopped), self.checkpoints.request.interrupting():
            super().after_train()

    def is_due(self, iteration: int) -> bool:
        """Whether an evaluation follows the iteration; the one after the last is not counted."""
        following = iteration + 1
        return self._period > 0 and 0 < following < self.trainer.max_iter and following % self._period == 0

    def _evaluate(self) -> None:
        with self.checkpoints.request.interrupting():
            self._do_eval()

    def state_dict(self) -> dict[str, Any]:
        return {"evaluated": self._evaluated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._evaluated = state_dict["evaluated"]
