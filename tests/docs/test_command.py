"""docs/command.md: its table has every command and every tool."""

import re

from egtr.cli.command import COMMANDS
from tests.docs.commands import ROOT

ROWS = re.findall(
    # A command may have no tool.
    r"^\| `egtr ([^`]+)` \| .* \| (?:`(tools/\w+\.py)[^|]*)?\|$",
    (ROOT / "docs/command.md").read_text("utf-8"),
    re.M,
)


def test_every_command_is_in_the_table():
    assert [command for command, _ in ROWS] == list(COMMANDS)


def test_every_tool_that_is_a_command_is_in_the_table():
    of_the_clone = {"tools/check_english.py", "tools/make_images.py", "tools/quickstart.py"}
    tools = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").glob("*.py")}
    assert {tool for _, tool in ROWS if tool} == tools - of_the_clone
