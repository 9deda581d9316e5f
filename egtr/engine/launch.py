"""What `tools/train_net.py` does in each process, and how its processes start."""

import argparse
import re
from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import launch as launch_processes
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from torch import nn
from torch.multiprocessing import ProcessRaisedException

from egtr.data import check_dataset_matches_config
from egtr.structures import EGTRError

from .checkpointer import EGTRCheckpointer
from .checks import check_scoring
from .defaults import setup, without_pretrained
from .stopping import forwarding_signals
from .trainer import EGTRTrainer


def train_or_evaluate(args: argparse.Namespace) -> dict[str, Any] | None:
    """One process of a training run, or of an evaluation with ``--eval-only``.

    Args:
        args: of :func:`egtr.engine.egtr_argument_parser`.

    Returns:
        The results of the (last) evaluation: task to metric to value, by data set where there are several.

    Raises:
        EGTRError: the configuration, the data or the weights are not usable.
    """
    cfg = setup(args)
    if args.eval_only:
        return _evaluate(cfg, args.resume)
    # Otherwise the backbone's weights may have to come from timm, as far as MODEL.WEIGHTS does not bring them.
    resumes = args.resume and EGTRCheckpointer(nn.Identity(), cfg.OUTPUT_DIR).has_checkpoint()
    trainer = EGTRTrainer(without_pretrained(cfg) if resumes else cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def _evaluate(cfg: CfgNode, resume: bool) -> dict[str, Any]:
    if not cfg.DATASETS.TEST:
        raise EGTRError("--eval-only: DATASETS.TEST is empty. Name a data set to evaluate on")
    check_scoring(cfg)
    check_dataset_matches_config(cfg, train=False)
    model = EGTRTrainer.build_model(without_pretrained(cfg))
    checkpointer = EGTRCheckpointer(model, cfg.OUTPUT_DIR)
    resume = resume and checkpointer.has_checkpoint()
    if not cfg.MODEL.WEIGHTS and not resume:
        raise EGTRError(
            "--eval-only: MODEL.WEIGHTS is empty, so there is nothing to evaluate. Add MODEL.WEIGHTS FILE, "
            "or --resume to take the last checkpoint in OUTPUT_DIR"
        )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    checkpointer.check_complete(checkpointer.get_checkpoint_file() if resume else cfg.MODEL.WEIGHTS)
    results = EGTRTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> Any:
    """Run ``main(args)`` in as many processes as ``args`` ask for; without CUDA they run on the CPU.

    Returns:
        What ``main`` returned where it ran in this very process (one process asked for), else None.

    Raises:
        EGTRError: more processes than this machine has GPUs, or the first EGTRError of a process.
    """
    num_gpus = torch.cuda.device_count()
    if num_gpus and args.num_gpus > num_gpus:
        raise EGTRError(f"--num-gpus {args.num_gpus}: this machine has {num_gpus}. Ask for at most that many")
    if args.num_gpus * args.num_machines == 1:
        try:
            return main(args)
        except EGTRError as error:
            # Out of a worker of a DataLoader it brings a whole traceback in its message.
            message = _egtr_error(str(error))
            if message is None:
                raise
        # Raised out here it does not keep the loader alive, whose workers end with it.
        raise EGTRError(message)
    try:
        with forwarding_signals():
            launch_processes(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    except ProcessRaisedException as error:
        message = _egtr_error(str(error))
        if message is None:
            raise
        raise EGTRError(message) from error
    return None


def _egtr_error(text: str) -> str | None:
    """What the EGTRError says at whose raising a process ended, from its printed traceback; None for other errors."""
    # Only the last traceback: those before are of errors that were handled.
    last = text.rpartition("Traceback (most recent call last)")[2]
    names = "|".join(kind.__name__ for kind in (EGTRError, *EGTRError.__subclasses__()))
    found = re.search(rf"^(?:\w+\.)*(?:{names}): (.*)", last, re.M | re.S)
    return found[1].strip() if found else None
