"""The command ``egtr``, one module a subcommand; ``python -m egtr`` is the same.

- ``command``   the parser of all subcommands, and how errors are reported
- ``parsing``   arguments and types that several subcommands share
- ``checks``    what is refused before a subcommand imports its work
- ``choices``   names that arguments take, without importing what they name
- ``scoring``   arguments and scores that ``egtr score`` and ``egtr compare`` share

A subcommand's module has ``EXAMPLES``, ``add_arguments(parser)`` and ``run(args)``, which returns the exit status. It
imports the library inside ``run``, so that help and usage errors answer at once.
"""

from .command import main

__all__ = ["main"]
