"""Commands and code as they stand in the documentation."""

import contextlib
import io
import re
import shlex
from pathlib import Path

from egtr import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
    *(ROOT / "docs").rglob("*.md"), *(ROOT / "projects").rglob("*.md"),
])  # fmt: skip


def commands(text: str) -> list[str]:
    """Find the ``egtr`` commands of a page that stand in a block of their own; lines that go on are joined."""
    found = re.findall(r"^(?:    )?(egtr (?:.*\\\n)*.*)", text, re.MULTILINE)
    return [command.replace("\\\n", " ") for command in found]


def run_command(command: str) -> None:
    """Run an ``egtr`` command in this process; it has to succeed. What $(python -c '...') prints takes its place."""
    command = re.sub(r"\$\(python -c '([^']*)'\)", lambda found: run_code(found[1]), command)
    program, *words = shlex.split(command, comments=True)
    assert program == "egtr"
    assert cli.main(words) == 0, command


def run_code(code: str) -> str:
    """Run Python and return what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    return out.getvalue().strip()


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
