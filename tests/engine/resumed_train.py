"""A training run in a process of its own, which tests kill: it writes each loss to a file at once.

Usage: resumed_train.py LOSSES [--resume] KEY VALUE ...
"""

import json
import sys
from pathlib import Path

from detectron2.engine import HookBase

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.engine import EGTRTrainer, egtr_argument_parser, setup


class LossWriter(HookBase):
    """Appends {"iteration", "loss"} to a file in every step."""

    def __init__(self, path: Path):
        self.file = path.open("a")

    def after_step(self) -> None:
        loss = self.trainer.storage.latest()["total_loss"][0]
        print(json.dumps({"iteration": self.trainer.iter, "loss": loss}), file=self.file, flush=True)

    def after_train(self) -> None:
        self.file.close()


def main() -> None:
    losses, *arguments = sys.argv[1:]
    args = egtr_argument_parser().parse_args(arguments)
    trainer = EGTRTrainer(setup(args))
    trainer.resume_or_load(resume=args.resume)
    trainer.register_hooks([LossWriter(Path(losses))])
    trainer.train()


if __name__ == "__main__":
    main()
