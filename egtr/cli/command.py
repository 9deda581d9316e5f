"""The parser of all subcommands, and the one way in which they report errors."""

import argparse
import logging
import os
import select
import sys
from collections.abc import Sequence
from types import ModuleType

from egtr.version import __version__

from . import (
    analyze_model,
    analyze_relations,
    calibrate,
    compare,
    convert,
    data_check,
    data_convert,
    data_get,
    data_prepare_scenes,
    demo,
    evaluate,
    explain,
    export,
    models,
    plot,
    report,
    score,
    serve,
    sweep,
    train,
)
from .checks import check_words
from .parsing import (
    UsageError,
    get_flags,
    is_missing_package,
    looks_like_key,
    report_error,
    show_warnings,
    split_pairs,
)

EPILOG = """
examples:
  egtr data prepare-scenes                         draw the dataset that ships
  egtr train --config-file configs/scenes/egtr_train.yaml
  egtr evaluate --model scenes DATASETS.TEST scenes_test
  egtr demo photo.jpg --output output/graphs
  egtr models                                      list models; egtr demo photo.jpg --model vg150 fetches one

`egtr COMMAND --help` has the arguments and more examples. Commands with a configuration take its keys and their
values at the end, such as MODEL.DEVICE cpu. docs/ describes what they write.

Completion of commands and arguments in bash, for ~/.bashrc (zsh: after `autoload -U bashcompinit && bashcompinit`):
  eval "$(register-python-argcomplete egtr)"

Exit status: 0 on success; 1 after an error, with one line that says what to do; 2 for invalid arguments; 130 after
Ctrl-C.
"""

GROUPS = {"data": "fetch, check, convert and draw datasets", "analyze": "study a model"}
COMMANDS: dict[str, ModuleType] = {
    "train": train,
    "evaluate": evaluate,
    "demo": demo,
    "explain": explain,
    "report": report,
    "serve": serve,
    "models": models,
    "data check": data_check,
    "data convert": data_convert,
    "data get": data_get,
    "data prepare-scenes": data_prepare_scenes,
    "score": score,
    "compare": compare,
    "calibrate": calibrate,
    "convert": convert,
    "export": export,
    "analyze relations": analyze_relations,
    "analyze model": analyze_model,
    "sweep": sweep,
    "plot": plot,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and report its errors.

    Args:
        argv: the words after ``egtr``; None: those of this process.

    Returns:
        The exit status.

    Raises:
        SystemExit: help or the version was requested (0), the arguments are invalid (2), or a signal has ended a
            training run after its checkpoint (0).
    """
    parser, parsers = build_parsers()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    args = parse(list(sys.argv[1:] if argv is None else argv), parser, parsers)
    if getattr(sys.stdout, "errors", None) == "strict" and hasattr(sys.stdout, "reconfigure"):
        # A pipe on Windows takes few letters, and no encoding takes file names that are not text.
        sys.stdout.reconfigure(errors="backslashreplace")
    reports_failed_logging = logging.raiseExceptions
    try:
        # If the reader of the pipe has gone, a log line would otherwise print a traceback.
        logging.raiseExceptions = False
        check_words(args)
        with show_warnings(args):
            status = COMMANDS[args.command].run(args)
        sys.stdout.flush()
    except UsageError as error:
        parsers[args.command].error(str(error))
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        if not is_missing_package(error):
            # Here, because it imports numpy.
            from egtr.structures.errors import EGTRError, MissingDetectron2Error

            if not isinstance(error, EGTRError | MissingDetectron2Error | OSError):
                raise
        if isinstance(error, BrokenPipeError) and _output_has_no_reader():
            # The status of a process that SIGPIPE ended.
            status = 141
        else:
            report_error(args, error)
            status = 1
    finally:
        logging.raiseExceptions = reports_failed_logging
    return status


def build_parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Build the parser of the whole command line, and return it with those of the subcommands by name."""
    looks = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(prog="egtr", description="Scene graphs of images.", epilog=EPILOG, **looks)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    parsers = {}
    for command, module in COMMANDS.items():
        group, _, name = command.rpartition(" ")
        if group not in groups:
            text = GROUPS[group]
            outer = groups[""].add_parser(group, help=text, description=f"{text.capitalize()}.")
            groups[group] = outer.add_subparsers(metavar="COMMAND", required=True)
        summary = module.__doc__.partition("\n")[0]
        text = (summary[0].lower() + summary[1:]).rstrip(".")
        leaf = groups[group].add_parser(name, help=text, description=module.__doc__, epilog=module.EXAMPLES, **looks)
        module.add_arguments(leaf)
        leaf.set_defaults(command=command)
        parsers[command] = leaf
    return parser, parsers


def parse(
    words: list[str], parser: argparse.ArgumentParser, parsers: dict[str, argparse.ArgumentParser]
) -> argparse.Namespace:
    """Parse a command line, with ``KEY VALUE`` pairs at its end where the subcommand has a configuration."""
    named = next((name for name in (" ".join(words[:2]), *words[:1]) if name in parsers), None)
    has_pairs = named is not None and parsers[named].get_default("opts") is not None
    words, pairs = split_pairs(words, get_flags(parsers[named])) if has_pairs else (words, [])
    args, rest = parser.parse_known_args(words)
    unknown = [word for word in rest if word.startswith("-")]
    # argparse does not collect the words before and after an option into one list of positional arguments.
    if rest and not unknown and hasattr(args, "inputs"):
        args.inputs += rest
    elif rest and not unknown and has_pairs and looks_like_key(rest[0]):
        args.opts = [*args.opts, *rest]
    elif rest:
        parsers[args.command].error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if has_pairs:
        args.opts = [*args.opts, *pairs]
    return args


def _output_has_no_reader() -> bool:
    """Tell whether standard output is the broken pipe; if it is, discard what is still buffered."""
    try:
        number = sys.stdout.fileno()
    except OSError:  # a stream that is not a file
        return False
    # Windows has no poll; no other pipe of these commands has a reader that may leave.
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            return False
    # Otherwise Python would complain at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return True
