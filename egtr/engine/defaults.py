"""From a command line to a configuration: one clear message for everything that can be wrong with it."""

import argparse
import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from egtr.config import get_egtr_cfg
from egtr.data.datasets import register_rows
from egtr.model_zoo import DEFAULT_MODEL
from egtr.structures import EGTRError

from .config_file import read_config_file
from .extensions import import_extensions

logger = logging.getLogger(__name__)

EPILOG = """
Examples:
  train                    %(prog)s --config-file FILE
  change a key             %(prog)s --config-file FILE SOLVER.BASE_LR 5e-5 OUTPUT_DIR output/trial
  go on with a run         %(prog)s --config-file FILE --resume
  evaluate                 %(prog)s --config-file FILE --eval-only MODEL.WEIGHTS output/trial/model_best.pth
  train on eight GPUs      %(prog)s --config-file FILE --num-gpus 8
  the same by torchrun     torchrun --nproc-per-node 8 --max-restarts 3 %(prog)s --config-file FILE --resume
  a head of your own       %(prog)s --config-file FILE --extension my_head.py MODEL.EGTR.RELATION.HEAD MyHead
"""


def egtr_argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's arguments (--config-file, --resume, --eval-only, --num-gpus, ..., KEY VALUE ...)."""
    parser = default_argument_parser(epilog=EPILOG)
    parser.description = description
    # A free port, so that two runs on one machine do not meet.
    parser.set_defaults(dist_url="auto")
    add_extension_argument(parser)
    return parser


def add_extension_argument(parser: argparse.ArgumentParser) -> None:
    """``--extension``, for :func:`egtr.engine.import_extensions`."""
    parser.add_argument(
        "--extension",
        action="append",
        default=[],
        metavar="FILE.py",
        help="import a file (or module) of your own first, which registers what the configuration names; repeatable",
    )


def add_options_arguments(parser: argparse.ArgumentParser) -> None:
    """``--extension`` and ``--opts``, of tools whose configuration may be changed."""
    add_extension_argument(parser)
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="change configuration keys"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config-file``, ``--extension`` and ``--opts``, of tools that predict with one model."""
    parser.add_argument(
        "--config-file",
        default=DEFAULT_MODEL,
        metavar="FILE",
        help="YAML file with MODEL.WEIGHTS, or the name of a model that comes with EGTR (default: %(default)s)",
    )
    add_options_arguments(parser)


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen configuration that ``args`` ask for, with loggers, seed and OUTPUT_DIR set up.

    Detectron2's ``default_setup`` without its printing of every key that Detectron2 has: they are in
    ``OUTPUT_DIR/config.yaml``.

    Args:
        args: of :func:`egtr_argument_parser`.

    Raises:
        EGTRError: see :func:`load_config`.
    """
    import_extensions(args.extension)
    cfg = load_config(args.config_file, args.opts)
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


def fall_back_to_cpu(cfg: CfgNode) -> None:
    """Set MODEL.DEVICE to "cpu" (in place) where it is a GPU and there is none, and say so."""
    wanted = cfg.MODEL.DEVICE
    if torch.device(wanted).type == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        logger.info("CUDA is not available: MODEL.DEVICE is cpu instead of %s", wanted)


def save_config(cfg: CfgNode) -> None:
    """Write all keys to OUTPUT_DIR/config.yaml (main process; nothing where OUTPUT_DIR is empty)."""
    if cfg.OUTPUT_DIR and comm.is_main_process():
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        PathManager.mkdirs(cfg.OUTPUT_DIR)
        with PathManager.open(path, "w") as f:
            f.write(cfg.dump())
        logger.info("The full configuration is in %s", path)


def seed_process(cfg: CfgNode, iteration: int = 0) -> None:
    """Seed all generators from SEED, each process and each start of a run differently; at random if it is negative.

    Args:
        iteration: where the run goes on: it must not draw again what it drew from its beginning on.
    """
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank() + iteration)


def without_pretrained(cfg: CfgNode) -> CfgNode:
    """A frozen copy whose model fetches no backbone weights: for models that get all weights from a checkpoint.

    Otherwise evaluation and prediction would need the network, for weights that they replace at once.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.EGTR.BACKBONE.PRETRAINED = False
    cfg.freeze()
    return cfg


def load_config(config_file: str = "", opts: Sequence[str] = ()) -> CfgNode:
    """EGTR's defaults, changed by a YAML file and then by ``KEY VALUE`` pairs.

    Data sets of DATASETS.REGISTER are registered.

    Args:
        config_file: a path, ``egtr://configs/<name>`` or "" for none.
        opts: keys and values in turn.

    Returns:
        The configuration, not frozen.

    Raises:
        EGTRError: the file is missing or not YAML, a key does not exist (the message suggests the nearest
            one) or a value has the wrong type, such as a row of DATASETS.REGISTER.
    """
    cfg = get_egtr_cfg()
    if config_file:
        _merge_file(cfg, config_file)
    if opts:
        _merge_opts(cfg, list(opts))
    register_rows(cfg.DATASETS.REGISTER)
    return cfg


def _merge_file(cfg: CfgNode, config_file: str) -> None:
    content = read_config_file(config_file)
    for key in _flatten(content):
        _check_key(cfg, key, f"{config_file} (or its _BASE_)")
    if content.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise EGTRError(f"{config_file}: VERSION is {content['VERSION']}, but the keys are those of {cfg.VERSION}")
    try:
        cfg.merge_from_other_cfg(CfgNode(content))
    except (ValueError, AssertionError, KeyError, TypeError) as error:
        raise EGTRError(f"{config_file}: {' '.join(str(error).split())}") from error


def _merge_opts(cfg: CfgNode, opts: list[str]) -> None:
    if len(opts) % 2:
        raise EGTRError(
            f"Command line: keys and values come in pairs, but there are {len(opts)} words: {' '.join(opts)}"
        )
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        _check_key(cfg, key, "Command line")
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, SyntaxError, AssertionError, KeyError, TypeError, MemoryError, RecursionError) as error:
            raise EGTRError(f"Command line: {key} {value}: {' '.join(str(error).split())}") from error


def _check_key(cfg: CfgNode, key: str, where: str) -> None:
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            shown = key if key.isprintable() else repr(key)
            raise EGTRError(f"{where}: there is no key {shown}.{_suggestion(cfg, key)}")
        node = node[part]


def _suggestion(cfg: CfgNode, key: str) -> str:
    known = list(_flatten(cfg))
    near = difflib.get_close_matches(key, known, n=2, cutoff=0.8)
    # The right key in the wrong section looks too different as a whole.
    last = key.rpartition(".")[2]
    near += [k for k in known if k.rpartition(".")[2] == last and k not in near][:2]
    near = near or difflib.get_close_matches(key, known, n=1)
    return f" Did you mean {' or '.join(near)}?" if near else " egtr/config.py lists EGTR's keys."


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Full names of all leaves."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{name}.")
        else:
            yield name
