"""Stopping a run on request: the cluster, the user or a metric that no longer rises."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# What clusters and terminals send: SLURM's scancel and preemption, its --signal=USR1@60, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class TrainingStopped(SystemExit):
    """A signal has ended the run, after a checkpoint. Not caught, it ends the process with status 0."""

    def __init__(self):
        super().__init__(0)


class EarlyStopped(BaseException):
    """Training ends before SOLVER.MAX_ITER, as a success. Never leaves :meth:`egtr.engine.EGTRTrainer.train`."""


class StopRequest:
    """A signal as a request that the training loop grants when it has finished its step.

    ::

        with request.listening():
            ...  # a signal sets request.received
            with request.interrupting():
                ...  # a signal raises TrainingStopped here, where waiting would take too long

    Who presses Ctrl-C twice does not want to wait: the second one is a KeyboardInterrupt.

    Attributes:
        received: whether this process has been asked to stop.
    """

    def __init__(self):
        self.received = False
        self._interrupts = False
        self._previous: dict[int, object] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        # Python hands signals to the main thread alone, and nobody else may ask for them.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            self._restore()

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        self._interrupts = True
        try:
            if self.received:
                raise TrainingStopped
            yield
        finally:
            self._interrupts = False

    def any_received(self, device: torch.device) -> bool:
        """Whether any process of the run has been asked to stop; all of them must call it together.

        Args:
            device: where tensors are exchanged.
        """
        if comm.get_world_size() == 1:
            return self.received
        flag = torch.tensor(float(self.received), device=device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        self.received = bool(flag)
        return self.received

    def _receive(self, number: int, frame: object) -> None:
        first, self.received = not self.received, True
        if number == signal.SIGINT:
            signal.signal(number, self._previous[number])
        # Clusters may send theirs twice, to a group of processes and to each of them: once is enough.
        if first:
            logger.warning("%s: the run ends, with a checkpoint", signal.Signals(number).name)
            if self._interrupts:
                raise TrainingStopped

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


@contextmanager
def forwarding_signals() -> Iterator[None]:
    """While this process waits for those that it has started, let them have what asks it to stop."""

    def forward(number: int, frame: object) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)

    # A terminal sends Ctrl-C to all processes itself.
    handlers = {signal.SIGTERM: forward, signal.SIGUSR1: forward, signal.SIGINT: lambda number, frame: None}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def init_worker(init: Callable[[int], None] | None, worker_id: int) -> None:
    """Start a worker of a loader that lives on when a whole group of processes is asked to stop.

    The last step still needs it. The process that it works for alone ends it.

    Args:
        init: what the loader's ``worker_init_fn`` was.
        worker_id: for ``init``.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # Not everywhere, such as on macOS: there a worker ends with its group.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if init is not None:
        init(worker_id)


def _end_with_parent() -> None:
    # A handler would not know who has sent the signal.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
