"""The start of a process that trains or evaluates: configuration, loggers, seed, OUTPUT_DIR."""

import argparse
import logging

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.logger import setup_logger

from egtr.config import fall_back_to_cpu, import_extensions, load_config, save_config
from egtr.data.datasets import register_rows

from .output_dir import claim_output_dir, make_output_dir
from .random_state import seed_process

logger = logging.getLogger(__name__)


def setup(args: argparse.Namespace) -> CfgNode:
    """Set up loggers, seed and OUTPUT_DIR; return the frozen configuration that ``args`` describe.

    Unlike Detectron2's ``default_setup`` it does not print every key: they are in ``OUTPUT_DIR/config.yaml``.

    Args:
        args: of :func:`egtr.config.egtr_argument_parser`.

    Raises:
        ConfigurationError: see :func:`egtr.config.load_config`, :func:`egtr.data.datasets.register_rows` and
            :func:`egtr.engine.output_dir.claim_output_dir`.
        WriteError: OUTPUT_DIR cannot be made or written.
    """
    import_extensions(args.extension)
    cfg = load_config(args.config_file, args.opts)
    register_rows(cfg.DATASETS.REGISTER)
    if comm.is_main_process():
        make_output_dir(cfg)
        if not args.eval_only:
            claim_output_dir(cfg, resume=args.resume, overwrite=getattr(args, "overwrite", False))
    for name in ("fvcore", "detectron2", "egtr"):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name=name)
    logger.info("Environment:\n%s", collect_env_info())
    logger.info("Command line: %s", args)
    fall_back_to_cpu(cfg)
    cfg.freeze()
    save_config(cfg)
    seed_process(cfg)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not args.eval_only
    return cfg
