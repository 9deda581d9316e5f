"""Stopping a run on request of the cluster or of the user."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# Clusters and terminals send these: SLURM's scancel and preemption, its --signal=USR1@60, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class TrainingStopped(SystemExit):
    """A signal has ended the run, after a checkpoint. If it is not caught, the process ends with status 0."""

    def __init__(self):
        super().__init__(0)


class StopRequest:
    """Remembers that a stop signal came; the training loop ends after the current step.

    ::

        with request.listening():
            ...  # a signal sets request.received
            with request.interrupting():
                ...  # a signal raises TrainingStopped here, because waiting would take too long

    A second Ctrl-C is a KeyboardInterrupt: it does not wait for the step.

    Attributes:
        received: True if this process has been asked to stop.
    """

    def __init__(self):
        self.received = False
        self._interrupts = False
        self._previous: dict[int, object] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals as requests to stop within the block."""
        # Python lets only the main thread handle signals; in another one the run is not stopped by them.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            self._previous = {}

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a request to stop end the block immediately.

        Raises:
            TrainingStopped: a signal comes within the block, or came before it.
        """
        self._interrupts = True
        try:
            if self.received:
                raise TrainingStopped
            yield
        finally:
            self._interrupts = False

    def any_received(self, device: torch.device) -> bool:
        """Return whether any process of the run has been asked to stop; all processes must call it together.

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
        # Clusters may send a signal twice, to a group of processes and to each process: once is enough.
        if first:
            logger.warning("%s: the run ends, with a checkpoint", signal.Signals(number).name)
            if self._interrupts:
                raise TrainingStopped


@contextmanager
def forwarding_signals() -> Iterator[None]:
    """Forward signals that ask this process to stop to the processes that it has started and waits for."""

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
