"""The commands that documents show."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As a block of code shows them: at the beginning of a line, indented or not, and continued after a backslash.
_COMMAND = re.compile(r"^ *(?:\$ )?((?:egtr|python tools/\w+\.py|python -m egtr) (?:.*\\\n)*.*)", re.MULTILINE)


def find_commands(text: str) -> list[list[str]]:
    """The words after `egtr` of each command; those of `python tools/...` are translated."""
    commands = []
    for command in _COMMAND.findall(text):
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        if words[0] == "egtr":
            words = words[1:]
        elif words[1] == "-m":
            words = words[3:]
        else:
            called = re.search(r"main\(\[(.*), \*sys", (ROOT / words[1]).read_text())
            if called is None:
                continue
            words = [*re.findall(r'"([\w-]+)"', called[1]), *words[2:]]
        commands.append(words)
    return commands
