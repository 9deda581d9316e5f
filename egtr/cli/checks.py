"""Checks of arguments that answer at once: they come before a command imports torch for its work."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable
from glob import has_magic

from egtr.config.keys import NO_WEIGHTS, read_keys, suggest

from .choices import MEDIA_FORMATS, SECTIONS
from .parsing import UsageError, get_inputs

# A key of the configuration, or the file of a camera (DSC_0001.JPG): both look like this.
_CAPITALS = re.compile(r"[A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)+")
_MODELS = "egtr://models/"
_MEDIA = tuple(f".{suffix}" for suffix in MEDIA_FORMATS)


def check_words(args: argparse.Namespace) -> None:
    """Check the words of a command line that many commands have in common, and fetch the models that keys name.

    Raises:
        UsageError: keys and values do not come in pairs, or an input is rather a key that does not exist.
        ConfigurationError: a file of ``--extension`` is missing, or a key or the model that it names does not exist.
        WeightsError: the file of MODEL.WEIGHTS is missing.
        DownloadError: a model cannot be fetched.
    """
    if getattr(args, "yes", False):
        # For the processes that the command starts, too.
        os.environ["EGTR_YES"] = "1"
    opts = getattr(args, "opts", None)
    if opts is not None:
        for word in get_inputs(args) if hasattr(args, "inputs") else ():
            if _CAPITALS.fullmatch(word) and not word.lower().endswith(_MEDIA) and not os.path.exists(word):
                section, _, rest = word.partition(".")
                near = difflib.get_close_matches(section, SECTIONS, n=1)
                hint = f". Did you mean {near[0]}.{rest}?" if near else f", whose sections are {', '.join(SECTIONS)}"
                raise UsageError(f"{word}: is neither a file nor a key of the configuration{hint}")
        if len(opts) % 2:
            raise UsageError(f"keys and values come in pairs, but there are {len(opts)} words: {' '.join(opts)}")
        if not getattr(args, "extension", ()):
            # An extension may add keys of its own.
            _check_keys(opts[::2])
        if args.command != "analyze model" and not getattr(args, "resume", False):
            # Otherwise they may not be needed.
            _check_weights(dict(zip(opts[::2], opts[1::2], strict=True)).get("MODEL.WEIGHTS", ""))
        for value in opts[1::2]:
            # Before several processes ask for it.
            if value.startswith(_MODELS):
                name = value.removeprefix(_MODELS)
                find_config(name if name.startswith("hf:") else name.partition("/")[0])
    for name in getattr(args, "extension", ()):
        if name.endswith(".py") and not os.path.isfile(name):
            from egtr.structures.errors import ConfigurationError

            raise ConfigurationError(f"--extension {name}: there is no such file")


def use_model(args: argparse.Namespace, default: str = "", *, exported: bool = False) -> None:
    """Let ``--model`` decide the configuration and the weights (in place); with ``--config-file``, only the weights.

    Args:
        args: gets as ``config_file`` what decides the configuration, and MODEL.WEIGHTS before its ``opts``.
        default: the configuration where neither is given.
        exported: accept a model that runs without PyTorch, too (:func:`egtr.inference.open_predictor`).

    Raises:
        ConfigurationError: there is no such file or model, or the model has no weights.
        WeightsError: there is no such exported model.
    """
    if exported and not (args.config_file and args.model):
        args.config_file = find_model(args.config_file or args.model or default)
        return
    config_file, model = (find_config(name) if name else "" for name in (args.config_file, args.model))
    args.config_file = config_file or model or default
    if config_file and model:
        args.opts = ["MODEL.WEIGHTS", read_weights(args.model), *args.opts]


def read_weights(model: str) -> str:
    """Read MODEL.WEIGHTS of a model.

    Raises:
        ConfigurationError: there is no such file or model, or the model has no weights.
    """
    path = find_config(model)
    from egtr.config import load_config
    from egtr.structures import ConfigurationError

    weights = load_config(path).MODEL.WEIGHTS
    if not weights:
        raise ConfigurationError(f"--model {model}: its MODEL.WEIGHTS is empty. Name a model with weights")
    return weights


def find_config(name: str) -> str:
    """Find the YAML file that a name stands for, as :func:`egtr.config.find_config` does, which imports torch.

    A model of the catalogue that is not here is fetched, if the user agrees.

    Raises:
        ConfigurationError: there is neither a file nor a model of that name.
        DownloadError: the model cannot be fetched.
    """
    from egtr.config.exported import refuse_exported

    refuse_exported(name)
    # The library answers for addresses.
    if "://" in name or os.path.isfile(name):
        return name
    from egtr.hub.models import find_model_config

    return find_model_config(name)


def find_model(name: str) -> str:
    """Find what :func:`egtr.inference.open_predictor` opens: an exported model, or the YAML file of another one.

    Raises:
        ConfigurationError: there is no such model, or it cannot be fetched.
        WeightsError: there is no such exported model.
        MissingDetectron2Error: the model needs PyTorch, which is missing; nothing is fetched then.
    """
    from egtr.config.exported import is_exported
    from egtr.inference.opening import has_torch, runs_without_torch

    if not runs_without_torch(name):
        if not has_torch():
            # It says how to install them.
            from egtr import _detectron2  # noqa: F401
        return find_config(name)
    if is_exported(name) and not os.path.isfile(name):
        from egtr.structures.errors import WeightsError

        raise WeightsError(f"{name}: there is no such file")
    return name


def check_file(path: str) -> None:
    """Check that a file or folder is there, or the file of ``FILE#split``; addresses are left to the library.

    Raises:
        DataError: it is not.
    """
    if not _may_exist(path) and not _may_exist(path.rpartition("#")[0]):
        from egtr.structures.errors import DataError

        raise DataError(f"{path}: there is no such file")


def check_names(names: Iterable[str]) -> None:
    """Check the words of ``--names``: files, or lists of names that come with the library.

    Raises:
        DataError: there is neither such a file nor such a list.
    """
    missing = [name for name in names if not os.path.exists(name)]
    if missing:
        from egtr.structures.known_names import get_known_names

        for name in missing:
            get_known_names(name)


def find_inputs(inputs: Iterable[str]) -> list[str]:
    """Find the paths of images and videos in files, folders and patterns.

    Raises:
        DataError: a folder or pattern holds no image, or all files are missing. Where only some are missing, each is
            reported when its turn comes, and the others are worked on.
    """
    from egtr.data.image import find_images

    missing = [path for path in map(os.path.expanduser, inputs) if not (has_magic(path) or _may_exist(path))]
    if missing and len(missing) == len([*inputs]):
        from egtr.structures.errors import DataError

        raise DataError(f"{', '.join(missing)}: there is no such file")
    return find_images(inputs)


def _check_keys(keys: Iterable[str]) -> None:
    """Check that keys, or sections of them, exist; the message is that of :func:`egtr.config.load_config`."""
    known = read_keys()
    for key in keys:
        if not any(name == key or name.startswith(f"{key}.") for name in known):
            from egtr.structures.errors import ConfigurationError

            shown = key if key.isprintable() else repr(key)
            raise ConfigurationError(f"Command line: there is no key {shown}.{suggest(key, known)}")


def _check_weights(path: str) -> None:
    # Quotes are of Python; options of Detectron2 may follow a question mark.
    path = path.strip("\"'").partition("?")[0]
    if path and not _may_exist(path):
        from egtr.structures.errors import WeightsError

        raise WeightsError(f"{path}: {NO_WEIGHTS}")


def _may_exist(path: str) -> bool:
    return "://" in path or os.path.exists(path)
