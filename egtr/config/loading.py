"""Loading configurations: defaults, a YAML file, ``KEY VALUE`` pairs, and one clear message for each mistake."""

import logging
import os
import re
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

import egtr
from egtr.structures import ConfigurationError
from egtr.structures.files import writing

from .defaults import get_egtr_cfg
from .exported import refuse_exported
from .keys import suggest
from .paths import fetch
from .yaml_file import read_config_file

logger = logging.getLogger(__name__)

# Words separated by commas, without the quotes and brackets of an unfinished Python literal.
_WORDS = re.compile(r"""[^\s,()\[\]{}'"]+(?:,[^\s,()\[\]{}'"]+)*""")


def load_config(config_file: str = "", opts: Sequence[str] = ()) -> CfgNode:
    """Load the defaults of EGTR, changed by a YAML file and then by ``KEY VALUE`` pairs.

    It does not register the datasets of DATASETS.REGISTER: see :func:`egtr.data.datasets.register_rows`.

    Args:
        config_file: a path, ``egtr://configs/<name>`` or "" for none.
        opts: keys and values in turn.

    Returns:
        The configuration, not frozen.

    Raises:
        ConfigurationError: the file is missing or not YAML, a key does not exist (the message suggests the nearest
            one) or a value has the wrong type.
    """
    cfg = get_egtr_cfg()
    if config_file:
        _merge_file(cfg, config_file)
    if opts:
        _merge_opts(cfg, list(opts))
    return cfg


def read_config(name: str, opts: Sequence[str] = ()) -> CfgNode:
    """Load the configuration of a model or of a YAML file.

    Args:
        name: a path, ``egtr://configs/<name>``, the name of a model (:func:`egtr.hub.models.list_names`; one of the
            catalogue is fetched if the user agrees) or of a configuration that ships
            (:func:`egtr.hub.model_zoo.list_configs`).
        opts: keys and values in turn, such as ``["MODEL.DEVICE", "cpu"]``.

    Returns:
        The configuration, not frozen.

    Raises:
        EGTRError: see :func:`load_config`; if there is no model of that name, the message lists the models.
    """
    return load_config(find_config(name), opts)


def find_config(name: str) -> str:
    """Find the YAML file that a name stands for.

    Args:
        name: see :func:`read_config`.

    Returns:
        A path or an address that :func:`load_config` takes.

    Raises:
        EGTRError: there is neither a file nor a model of that name, and the message lists the models; or it is an
            exported model.
    """
    refuse_exported(name)
    if "://" in name or os.path.isfile(name):
        return name
    # The hub answers for these paths.
    egtr.register()
    return fetch(f"egtr://models/{name}", "there is no such file")


def save_config(cfg: CfgNode) -> None:
    """Write all keys to OUTPUT_DIR/config.yaml (only the main process; nothing if OUTPUT_DIR is empty)."""
    if cfg.OUTPUT_DIR and comm.is_main_process():
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        PathManager.mkdirs(cfg.OUTPUT_DIR)
        with writing(path), PathManager.open(path, "w") as f:
            f.write(cfg.dump())
        logger.info("The full configuration is in %s", path)


def without_pretrained(cfg: CfgNode) -> CfgNode:
    """Copy a configuration so that its model fetches no backbone weights, because a checkpoint has all weights.

    Otherwise evaluation and prediction would need the network for weights that the checkpoint then replaces. The
    copy is frozen.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.EGTR.BACKBONE.PRETRAINED = False
    cfg.freeze()
    return cfg


def fall_back_to_cpu(cfg: CfgNode) -> None:
    """Set MODEL.DEVICE to "cpu" (in place) if it names a GPU and the machine has none, and log it."""
    wanted = cfg.MODEL.DEVICE
    if torch.device(wanted).type == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        logger.info("CUDA is not available: MODEL.DEVICE is cpu instead of %s", wanted)


def _merge_file(cfg: CfgNode, config_file: str) -> None:
    content = read_config_file(config_file)
    for key in _flatten(content):
        _check_key(cfg, key, f"{config_file} (or its _BASE_)")
    if content.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ConfigurationError(
            f"{config_file}: VERSION is {content['VERSION']}, but the keys are those of {cfg.VERSION}"
        )
    try:
        cfg.merge_from_other_cfg(CfgNode(content))
    except (ValueError, AssertionError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{config_file}: {' '.join(str(error).split())}") from error


def _merge_opts(cfg: CfgNode, opts: list[str]) -> None:
    if len(opts) % 2:
        raise ConfigurationError(
            f"Command line: keys and values come in pairs, but there are {len(opts)} words: {' '.join(opts)}"
        )
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        _check_key(cfg, key, "Command line")
        try:
            cfg.merge_from_list([key, _split_words(cfg, key, value)])
        except (ValueError, SyntaxError, AssertionError, KeyError, TypeError, MemoryError, RecursionError) as error:
            raise ConfigurationError(f"Command line: {key} {value}: {' '.join(str(error).split())}") from error


def _split_words(cfg: CfgNode, key: str, value: Any) -> Any:
    """Turn ``a,b`` into a tuple or list if the key holds a tuple or list of words, so that a shell needs no quotes.

    A Python literal, such as ``('a', 'b')``, stays as it is, and so does a value that only looks like one.
    """
    old = reduce(getitem, key.split("."), cfg)
    holds_words = isinstance(old, tuple | list) and all(isinstance(entry, str) for entry in old)
    if not holds_words or not isinstance(value, str) or not _WORDS.fullmatch(value):
        return value
    try:
        literal_eval(value)
    except (ValueError, SyntaxError):
        return type(old)(value.split(","))
    return value


def _check_key(cfg: CfgNode, key: str, where: str) -> None:
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            shown = key if key.isprintable() else repr(key)
            raise ConfigurationError(f"{where}: there is no key {shown}.{suggest(key, list(_flatten(cfg)))}")
        node = node[part]


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """List the full names of all leaves."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{name}.")
        else:
            yield name
