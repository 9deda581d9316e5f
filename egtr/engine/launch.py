"""What `tools/train_net.py` does in each process, and how its processes start."""

import argparse
import os
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import launch as launch_processes
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from torch import nn
from torch.multiprocessing import ProcessRaisedException

from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.config.loading import without_pretrained
from egtr.data import check_dataset_matches_config
from egtr.structures import EGTRError

from .checks import check_scoring
from .defaults import setup
from .stopping import TrainingStopped, forwarding_signals
from .trainer import EGTRTrainer
from .workers import explaining_dead_workers


def train_or_evaluate(args: argparse.Namespace) -> dict[str, Any] | None:
    """One process of a training run, or of an evaluation with ``--eval-only``.

    Args:
        args: of :func:`egtr.config.defaults.egtr_argument_parser`.

    Returns:
        The results of the (last) evaluation: task to metric to value, by dataset where there are several.

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
        raise EGTRError("--eval-only: DATASETS.TEST is empty. Name a dataset to evaluate on")
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
    with explaining_dead_workers("then evaluate again"):
        results = EGTRTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> Any:
    """Run ``main(args)`` in as many processes as ``args`` ask for, or as one of those that torchrun has started.

    Processes exchange tensors through NCCL; without CUDA they run on the CPU, with gloo.

    Args:
        main: of one process.
        args: of :func:`egtr.config.defaults.egtr_argument_parser`. Under torchrun, which knows better, --num-gpus and
            --num-machines are 1.

    Returns:
        What ``main`` returned where it ran in this very process (one process asked for, or torchrun), else None.

    Raises:
        EGTRError: the processes cannot be had as ``args`` want them, or the first EGTRError of a process.
    """
    if dist.is_torchelastic_launched():
        _join_torchrun(args)
        try:
            result = _run(main, args)
        except TrainingStopped:
            dist.destroy_process_group()
            raise
        # Not after an error: it would wait for the other processes.
        dist.destroy_process_group()
        return result
    _check_processes(args)
    if args.num_gpus * args.num_machines == 1:
        return _run(main, args)
    try:
        with forwarding_signals():
            launch_processes(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    except ProcessRaisedException as error:
        message = _egtr_error(str(error))
        if message is None:
            raise
        raise EGTRError(message) from error
    return None


def _run(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> Any:
    try:
        return main(args)
    except EGTRError as error:
        # Out of a worker of a DataLoader it brings a whole traceback in its message.
        message = _egtr_error(str(error))
        if message is None:
            raise
    # Raised out here it does not keep the loader alive, whose workers end with it.
    raise EGTRError(message)


def _join_torchrun(args: argparse.Namespace) -> None:
    """Make this process one of the group that torchrun has started."""
    if args.num_gpus * args.num_machines != 1:
        raise EGTRError("torchrun starts the processes: give it --nproc-per-node, and no --num-gpus, --num-machines")
    if os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0" and not (args.resume or args.eval_only):
        raise EGTRError("torchrun --max-restarts: a run that is restarted would begin anew. Add --resume")
    several = os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]
    if several and os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0" and _shares_store():
        # Addresses of processes that are gone are in it, and machines that count restarts differently never meet.
        raise EGTRError(
            "torchrun --max-restarts over several machines: restarted processes may wait for each other for ever. "
            "Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of torchrun on each"
        )
    local_rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if num_gpus:
        if local_rank >= num_gpus:
            raise EGTRError(
                f"torchrun: process {local_rank} of this machine has no GPU of its own, there are {num_gpus}"
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if num_gpus else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def _shares_store() -> bool:
    """Whether torchrun serves all attempts to meet from one store."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _check_processes(args: argparse.Namespace) -> None:
    num_gpus = torch.cuda.device_count()
    if num_gpus and args.num_gpus > num_gpus:
        raise EGTRError(f"--num-gpus {args.num_gpus}: this machine has {num_gpus}. Ask for at most that many")
    if min(args.num_gpus, args.num_machines) < 1:
        raise EGTRError("--num-gpus and --num-machines must be at least 1; without GPUs they count processes")
    if args.num_machines > 1:
        if args.dist_url == "auto":
            raise EGTRError("--num-machines: say where machine 0 is, with --dist-url tcp://HOST:PORT on all machines")
        if not 0 <= args.machine_rank < args.num_machines:
            raise EGTRError(
                f"--machine-rank {args.machine_rank}: {args.num_machines} machines have 0 to {args.num_machines - 1}"
            )


def _egtr_error(text: str) -> str | None:
    """What the EGTRError says at whose raising a process ended, from its printed traceback; None for other errors."""
    # Only the last traceback: those before are of errors that were handled.
    last = text.rpartition("Traceback (most recent call last)")[2]
    names = "|".join(kind.__name__ for kind in (EGTRError, *EGTRError.__subclasses__()))
    found = re.search(rf"^(?:\w+\.)*(?:{names}): (.*)", last, re.M | re.S)
    return found[1].strip() if found else None
