"""What `tools/train_net.py` does in each process, and how its processes start."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from detectron2.engine import launch as launch_processes
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from egtr.structures import EGTRError

from .checkpointer import EGTRCheckpointer
from .defaults import setup
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
    if not args.eval_only:
        trainer = EGTRTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    model = EGTRTrainer.build_model(cfg)
    checkpointer = EGTRCheckpointer(model, cfg.OUTPUT_DIR)
    if not cfg.MODEL.WEIGHTS and not (args.resume and checkpointer.has_checkpoint()):
        raise EGTRError(
            "--eval-only: MODEL.WEIGHTS is empty, so there is nothing to evaluate. Add MODEL.WEIGHTS FILE, "
            "or --resume to take the last checkpoint in OUTPUT_DIR"
        )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = EGTRTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> Any:
    """Run ``main(args)`` in as many processes as ``args`` ask for; without CUDA they run on the CPU.

    Returns:
        What ``main`` returned where it ran in this very process (one process asked for), else None.

    Raises:
        EGTRError: more processes than this machine has GPUs.
    """
    num_gpus = torch.cuda.device_count()
    if num_gpus and args.num_gpus > num_gpus:
        raise EGTRError(f"--num-gpus {args.num_gpus}: this machine has {num_gpus}. Ask for at most that many")
    if args.num_gpus * args.num_machines == 1:
        return main(args)
    launch_processes(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    return None
