"""A run in double precision, whose losses are written in full; takes the arguments of ``tools/train_net.py``.

Usage: python -m tests.engine.exact_run FOLDER [--num-gpus N] KEY VALUE ...

FOLDER gets one file a process, a line of JSON in every step: loss to value.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.config import egtr_argument_parser
from egtr.engine import EGTRTrainer, launch
from egtr.engine.defaults import setup


class ExactTrainer(EGTRTrainer):
    @classmethod
    def build_model(cls, cfg):
        return super().build_model(cfg).double()


class LossWriter(HookBase):
    """Writes what the model returns, before anything is done to it."""

    def __init__(self, path: Path):
        self.file = path.open("w")

    def before_train(self) -> None:
        self.trainer.bare_model.register_forward_hook(self._write)

    def _write(self, model: torch.nn.Module, inputs: tuple, losses: dict[str, torch.Tensor]) -> None:
        print(json.dumps({name: float(value.detach()) for name, value in losses.items()}), file=self.file)

    def after_train(self) -> None:
        self.file.close()


def train(args: Any) -> None:
    # Where the model asks for at least single precision.
    torch.Tensor.float = torch.Tensor.double
    trainer = ExactTrainer(setup(args))
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([LossWriter(Path(args.folder, f"{comm.get_rank()}.jsonl"))])
    trainer.train()


if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    parsed = egtr_argument_parser().parse_args(arguments)
    parsed.folder = folder
    launch(train, parsed)
