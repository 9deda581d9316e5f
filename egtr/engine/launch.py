"""The processes of a training run or an evaluation, and the work of each process."""

import argparse
import atexit
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import launch as launch_processes
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from torch import nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.config.loading import without_pretrained
from egtr.data import check_dataset_matches_config
from egtr.evaluation import SceneGraphEvaluator
from egtr.structures import Calibration, ConfigurationError, EGTRError, ModelInfo
from egtr.structures.errors import library_kind

from .checks import check_scoring
from .defaults import setup
from .label_names import check_names
from .loader_workers import explaining_worker_errors
from .output_dir import release_output_dir
from .stop_signals import TrainingStopped, forwarding_signals
from .trainer import EGTRTrainer

# Characters of an error that a process passes on.
_LONGEST_MESSAGE = 10_000


def train_or_evaluate(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train in this process, or evaluate with ``--eval-only``.

    Args:
        args: of :func:`egtr.config.egtr_argument_parser`.

    Returns:
        The results of the last evaluation: task to metric to value; with several datasets, grouped by dataset.

    Raises:
        EGTRError: the configuration, the data or the weights are not usable.
    """
    cfg = setup(args)
    if args.eval_only:
        return _evaluate(cfg, args.resume)
    try:
        # Only a new run may need the backbone's weights from timm, where MODEL.WEIGHTS does not bring them.
        resumes = args.resume and EGTRCheckpointer(nn.Identity(), cfg.OUTPUT_DIR).has_checkpoint()
        trainer = EGTRTrainer(without_pretrained(cfg) if resumes else cfg)
        check_names(cfg, (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST), with_weights=False)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    finally:
        release_output_dir(cfg)


def _evaluate(cfg: CfgNode, resume: bool) -> dict[str, Any]:
    if not cfg.DATASETS.TEST:
        raise ConfigurationError("--eval-only: DATASETS.TEST is empty. Name a dataset to evaluate on")
    check_scoring(cfg)
    check_dataset_matches_config(cfg, train=False)
    check_names(cfg, cfg.DATASETS.TEST, with_weights=not resume)
    model = load_trained_model(cfg, resume)
    with explaining_worker_errors(cfg.DATALOADER.NUM_WORKERS, "then evaluate again"):
        results = _evaluation(cfg, resume).test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def _evaluation(cfg: CfgNode, resume: bool) -> type[EGTRTrainer]:
    """Make a trainer whose evaluators also measure the reliability of scores and of the model's calibration."""
    # A record describes MODEL.WEIGHTS, not a checkpoint of a run that began with them.
    info = None if resume else ModelInfo.find(PathManager.get_local_path(cfg.MODEL.WEIGHTS))
    object_score = cfg.TEST.SCENE_GRAPH.OBJECT_SCORE
    calibration = Calibration.of(info, object_score)

    class Evaluation(EGTRTrainer):
        @classmethod
        def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> SceneGraphEvaluator:
            evaluator = super().build_evaluator(cfg, dataset_name)
            evaluator.measure_reliability(calibration, object_score)
            return evaluator

    return Evaluation


def load_trained_model(cfg: CfgNode, resume: bool) -> nn.Module:
    """Build the model and load all its weights: MODEL.WEIGHTS, or with ``resume`` the last checkpoint of OUTPUT_DIR.

    Raises:
        ConfigurationError: there are no weights to load.
        WeightsError: they cannot be read, or lack parameters of the model.
    """
    model = EGTRTrainer.build_model(without_pretrained(cfg))
    checkpointer = EGTRCheckpointer(model, cfg.OUTPUT_DIR)
    resume = resume and checkpointer.has_checkpoint()
    if not cfg.MODEL.WEIGHTS and not resume:
        raise ConfigurationError(
            "--eval-only: MODEL.WEIGHTS is empty, so there is nothing to evaluate. Add MODEL.WEIGHTS FILE, "
            "or --resume to take the last checkpoint in OUTPUT_DIR"
        )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    checkpointer.check_complete(checkpointer.get_checkpoint_file() if resume else cfg.MODEL.WEIGHTS)
    return model


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> Any:
    """Run ``main(args)`` in as many processes as ``args`` ask for; under torchrun, only in this process.

    Processes exchange tensors through NCCL; without CUDA they run on the CPU, with gloo.

    Args:
        main: runs in each process. It is a function of a module, so that another process can import it.
        args: from :func:`egtr.config.egtr_argument_parser`. Under torchrun, which decides the number of processes,
            --num-gpus and --num-machines must be 1.

    Returns:
        The result of ``main`` if it ran in this process (a single process, or torchrun), else None.

    Raises:
        EGTRError: the processes cannot be started as ``args`` ask, or the first EGTRError of a process.
    """
    if dist.is_torchelastic_launched():
        _join_torchrun(args)
        return _run_in_group(main, args)
    _check_processes(args)
    if args.num_gpus * args.num_machines == 1:
        return main(args)
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    on_cpu = not torch.cuda.device_count()
    if on_cpu and args.num_gpus > 1:
        print(
            f"No GPU is available: --num-gpus {args.num_gpus} starts {args.num_gpus} processes on the CPU",
            file=sys.stderr,
        )
    try:
        with forwarding_signals(), _quiet_processes() if on_cpu else nullcontext():
            where = (args.num_gpus, args.num_machines, args.machine_rank, args.dist_url)
            launch_processes(_run_noting_error, *where, args=(main, args, errors))
    except (ProcessRaisedException, ProcessExitedException) as error:
        # The process that ends first may be one that has only lost its connection to the one with the error.
        if errors.empty():
            raise
        kind, message = errors.get()
        raise kind(message) from error
    return None


@contextmanager
def _quiet_processes() -> Iterator[None]:
    """Let processes that start here keep warnings of libraries to themselves, which each of them would repeat."""
    quiet = {"PYTHONWARNINGS": "ignore::FutureWarning", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    added = {key: value for key, value in quiet.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def _run_in_group(main: Callable, args: argparse.Namespace) -> Any:
    """Run ``main(args)`` in a process of a group, then leave the group."""
    try:
        result = main(args)
    except TrainingStopped:
        _leave_group()
        raise
    # Not after an error, because it would wait for the other processes.
    _leave_group()
    return result


def _leave_group() -> None:
    # The function of a user may have left it already.
    if dist.is_initialized():
        dist.destroy_process_group()
        # Gloo's threads free the tensors of the last exchange, for which they need Python. If it ends before, they
        # abort the process.
        time.sleep(0.1)


def _end_process() -> None:
    """End a process that has been started for this run as forked ones end, whatever threads still run in it.

    Python would end it in the usual way while a thread of gloo waits for it (see :func:`_leave_group`).
    """
    if multiprocessing.parent_process() is not None:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _run_noting_error(main: Callable, args: argparse.Namespace, errors: multiprocessing.SimpleQueue) -> None:
    if not torch.cuda.device_count():
        # Where the CUDA toolkit is installed, it would say in each process that there is no GPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        with suppress(TrainingStopped):
            _run_in_group(main, args)
        _end_process()
    except EGTRError as error:
        # A pipe holds 64 KiB, and it is only read after this process has ended.
        errors.put((library_kind(error), str(error)[:_LONGEST_MESSAGE]))
        raise


def _join_torchrun(args: argparse.Namespace) -> None:
    """Make this process one of the group that torchrun has started."""
    if args.num_gpus * args.num_machines != 1:
        raise ConfigurationError(
            "torchrun starts the processes: give it --nproc-per-node, and no --num-gpus, --num-machines"
        )
    if os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0" and not (args.resume or args.eval_only):
        raise ConfigurationError("torchrun --max-restarts: a run that is restarted would start over. Add --resume")
    several = os.environ["WORLD_SIZE"] != os.environ["LOCAL_WORLD_SIZE"]
    shares_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if several and shares_store and os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0":
        # Without the variable all restarts share a store, which still has the addresses of processes that have ended.
        # Machines that count restarts differently then never meet.
        raise ConfigurationError(
            "torchrun --max-restarts over several machines: restarted processes may wait for each other for ever. "
            "Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment of torchrun on each"
        )
    local_rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if num_gpus:
        if local_rank >= num_gpus:
            raise ConfigurationError(
                f"torchrun: process {local_rank} of this machine has no GPU of its own, there are {num_gpus}"
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if num_gpus else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
    comm.synchronize()


def _check_processes(args: argparse.Namespace) -> None:
    num_gpus = torch.cuda.device_count()
    if num_gpus and args.num_gpus > num_gpus:
        raise ConfigurationError(
            f"--num-gpus {args.num_gpus}: this machine has {num_gpus}. Ask for at most that many"
        )
    if min(args.num_gpus, args.num_machines) < 1:
        raise ConfigurationError(
            "--num-gpus and --num-machines must be at least 1; without GPUs they count processes"
        )
    if args.num_machines > 1:
        if args.dist_url == "auto":
            raise ConfigurationError(
                "--num-machines: say where machine 0 is, with --dist-url tcp://HOST:PORT on all machines"
            )
        if not 0 <= args.machine_rank < args.num_machines:
            raise ConfigurationError(
                f"--machine-rank {args.machine_rank}: {args.num_machines} machines have 0 to {args.num_machines - 1}"
            )
