"""A training run in its own process, into which a soak test injects faults (:mod:`benchmarks.soak`).

Usage: python -m benchmarks.soak.child LOSSES DIES_AT [--config-file FILE] [--resume] KEY VALUE ...

LOSSES is a file that gets a line of JSON in every step, {"iteration", "loss"}. With DIES_AT k above 0 the process
kills itself when it opens, renames or deletes one of its checkpoints for the k-th time.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.config.arguments import egtr_argument_parser
from egtr.engine.defaults import setup
from egtr.engine.launch import launch
from egtr.engine.trainer import EGTRTrainer
from egtr.structures import EGTRError

_TOUCHES = {"open", "os.rename", "os.remove"}


class LossWriter(HookBase):
    """Append the loss of each step to a file, without buffering."""

    def __init__(self, path: Path):
        self.file = path.open("a")

    def after_step(self) -> None:
        loss = self.trainer.storage.latest()["total_loss"][0]
        print(json.dumps({"iteration": self.trainer.iter, "loss": loss}), file=self.file, flush=True)

    def after_train(self) -> None:
        self.file.close()


def die_at(touch: int, folder: str) -> None:
    """Let this process kill itself at its ``touch``-th access to a checkpoint file in ``folder``, complete or not."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _TOUCHES or not isinstance(arguments[0], (str, os.PathLike)):
            return
        path = os.fspath(arguments[0])
        if path.startswith(folder) and ("model_" in path or "last_checkpoint" in path):
            seen += 1
            if seen == touch:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def train(args: Any) -> None:
    """Run one training, with :class:`LossWriter`; it takes the arguments of ``tools/train_net.py``."""
    cfg = setup(args)
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.register_hooks([LossWriter(Path(args.losses))])
    if args.dies_at:
        die_at(args.dies_at, cfg.OUTPUT_DIR)
    trainer.train()


if __name__ == "__main__":
    losses, dies_at, *arguments = sys.argv[1:]
    parsed = egtr_argument_parser().parse_args(arguments)
    parsed.losses, parsed.dies_at = losses, int(dies_at)
    try:
        launch(train, parsed)
    except EGTRError as error:
        sys.exit(f"soak: {error}")
