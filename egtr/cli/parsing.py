"""Arguments and types that several subcommands share."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from .choices import SECTIONS, TOP_KEYS

# Modules whose packages have other names.
_PACKAGES = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "lazy_loader": "lazy-loader",
    "multipart": "python-multipart",
    "yaml": "PyYAML",
}
_KEY = re.compile(rf"(?:{'|'.join(SECTIONS)})(?:\.\w+)+|{'|'.join(TOP_KEYS)}")


class UsageError(Exception):
    """Arguments that contradict each other or are missing; the command prints its usage and exits with status 2."""


def report_error(args: argparse.Namespace, error: Exception) -> None:
    """Print an error as every subcommand does."""
    print(_describe_error(args, error), file=sys.stderr)


def report_error_above_bar(args: argparse.Namespace, error: Exception) -> None:
    """Print an error as :func:`report_error` does, while a progress bar of tqdm is shown."""
    # Here, because most commands have no bar.
    from tqdm.auto import tqdm

    tqdm.write(_describe_error(args, error), file=sys.stderr)


@contextmanager
def show_warnings(args: argparse.Namespace) -> Iterator[None]:
    """Print what the library warns of, as :func:`report_error` prints errors, unless a run logs by itself."""
    handler = _WarningHandler(args.command)
    logger = logging.getLogger("egtr")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _WarningHandler(logging.Handler):
    def __init__(self, command: str):
        super().__init__(logging.WARNING)
        self.command = command

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger("egtr").handlers != [self]:
            return
        # Through tqdm, or the line lands in the middle of a bar.
        from tqdm.auto import tqdm

        try:
            tqdm.write(f"egtr {self.command}: warning: {record.getMessage()}", file=sys.stderr)
        except Exception:
            self.handleError(record)


def _describe_error(args: argparse.Namespace, error: Exception) -> str:
    # Python's own text begins with a number: [Errno 2].
    of_file = isinstance(error, OSError) and error.filename is not None
    text = f"{error.filename}: {error.strerror}" if of_file else error
    if is_missing_package(error):
        module = error.name.partition(".")[0]
        package = _PACKAGES.get(module, module)
        text = f"the package {package} is missing, which this command needs: pip install {package}"
    return f"egtr {args.command}: error: {text}"


def is_missing_package(error: Exception) -> bool:
    """Tell whether an error is that of importing another project's package that is not installed."""
    return isinstance(error, ModuleNotFoundError) and bool(error.name) and error.name.partition(".")[0] != "egtr"


def split_pairs(words: Sequence[str], flags: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Split a command line before its ``KEY VALUE`` pairs, which come last.

    Args:
        words: the first one is a subcommand.
        flags: options that take no value, such as ``--resume``: a key may follow them.

    Returns:
        The words before the pairs, and the pairs. They begin after ``--opts``, or else at the first word that is a
        key of a configuration, neither a file nor the value of an option.
    """
    for index, word in enumerate(words):
        if word == "--opts":
            return list(words[:index]), list(words[index + 1 :])
        is_value = words[index - 1].startswith("-") and words[index - 1] not in flags
        if _KEY.fullmatch(word) and not is_value and not os.path.exists(word):
            return list(words[:index]), list(words[index:])
    return list(words), []


def get_flags(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a parser that take no value."""
    return {name for action in parser._actions if action.nargs == 0 for name in action.option_strings}


def looks_like_key(word: str) -> bool:
    """Tell whether a word may be meant as a key of a configuration, which has a section, or is at its top."""
    return word in TOP_KEYS or re.fullmatch(r"[A-Za-z_]\w*(?:\.\w+)+", word) is not None


def add_inputs(
    parser: argparse.ArgumentParser, text: str, metavar: str = "INPUT", aliases: Sequence[str] = ()
) -> None:
    """Add inputs, given by themselves or after ``--input``; :func:`get_inputs` reads them.

    Args:
        text: describes the inputs.
        aliases: older spellings of ``--input``, left out of the help.
    """
    parser.add_argument("inputs", nargs="*", metavar=metavar, help=text)
    parser.add_argument("--input", nargs="+", default=[], metavar=metavar, help="the same")
    for alias in aliases:
        parser.add_argument(alias, nargs="+", dest="input", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def get_inputs(args: argparse.Namespace) -> list[str]:
    """Return the inputs that :func:`add_inputs` has added, in order."""
    return [*args.inputs, *args.input]


def get_input(args: argparse.Namespace, what: str) -> str:
    """Return the only input.

    Args:
        what: names it in the error, without an article.

    Raises:
        UsageError: there is none, or there are several.
    """
    inputs = get_inputs(args)
    if len(inputs) != 1:
        raise UsageError(f"give one {what}" + (f", not {', '.join(inputs)}" if inputs else ""))
    return inputs[0]


def add_provider(parser: argparse.ArgumentParser) -> None:
    """Add ``--provider``, of commands that run exported models."""
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="NAME",
        help="execution provider of onnxruntime for an exported model, such as CUDAExecutionProvider, or device of "
        "OpenVINO, such as GPU; repeatable, best first (the CPU)",
    )


def add_top_k(parser: argparse.ArgumentParser, text: str, **options) -> None:
    """Add ``--top-k``, and its old name ``--topk``."""
    options = {"metavar": "K", "type": whole_number(0)} | options
    parser.add_argument("--top-k", help=text, **options)
    options |= {"dest": "top_k", "default": argparse.SUPPRESS}
    parser.add_argument("--topk", help=argparse.SUPPRESS, **options)


def add_no_single_objects(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-single-objects``."""
    text = (
        "leave out objects without a relation; by default the certain ones stay (TEST.SCENE_GRAPH.OBJECT_THRESHOLD)"
    )
    parser.add_argument("--no-single-objects", dest="single_objects", action="store_false", help=text)


def add_limit(parser: argparse.ArgumentParser, text: str = "use only the first N images (all)") -> None:
    """Add ``--limit``."""
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help=text)


def whole_number(least: int) -> Callable[[str], int]:
    """Make an argument type: whole numbers from ``least`` on."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text}: give a whole number of at least {least}")
        return number

    return convert


def score(text: str) -> float:
    """Convert an argument to a score from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0 to 1")
    return number
