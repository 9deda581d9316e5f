"""Tools answer from any folder: those of setup before anything is installed, the others as the command `egtr`."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from egtr.cli.command import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(ROOT.joinpath("tools").glob("*.py"))
SETUP_TOOLS = sorted(ROOT.joinpath("tools/setup").glob("*.py"))
# Tools of the clone, which are no commands.
OF_THE_CLONE = {"check_english", "make_images", "quickstart"}


def test_no_tool_is_overlooked():
    assert TOOLS and SETUP_TOOLS
    assert {*TOOLS, *SETUP_TOOLS} == {*ROOT.joinpath("tools").rglob("*.py")}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_help(tool, tmp_path, monkeypatch, capsys):
    """In this process, since a new one would spend seconds on imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", [str(tool), "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name="__main__")
    assert end.value.code == 0
    _check_answer(capsys.readouterr().out, tmp_path)


def test_every_old_command_has_a_tool_that_calls_it(monkeypatch, capsys):
    called = []
    for tool in TOOLS:
        if tool.stem not in OF_THE_CLONE:
            assert len(tool.read_text().splitlines()) < 12
            monkeypatch.setattr(sys, "argv", [str(tool), "--help"])
            with pytest.raises(SystemExit):
                runpy.run_path(str(tool), run_name="__main__")
            called.append(re.match(r"usage: egtr ([a-z -]+) \[", capsys.readouterr().out)[1])
    # tools/train_net.py evaluates with --eval-only. The others are newer than the tools.
    assert sorted(called) == sorted({*COMMANDS} - {"calibrate", "data get", "evaluate", "models"})


@pytest.mark.parametrize("tool", SETUP_TOOLS, ids=lambda path: path.stem)
def test_help_before_anything_is_installed(tool, tmp_path):
    """Setup begins in a bare interpreter: -S and -I leave installed packages and this folder out."""
    command = [sys.executable, "-I", "-S", tool, "--help"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    _check_answer(answer.stdout, tmp_path)


def _check_answer(text, folder):
    assert text.lower().startswith("usage:")
    assert "--help" in text
    assert not list(folder.iterdir()), "--help must not write anything"
