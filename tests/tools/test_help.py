"""Every tool says what it does, from any folder, without doing it."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(ROOT.joinpath("tools").rglob("*.py"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Output of every tool's --help. Two at a time, since each spends its time on imports."""
    scratch = tmp_path_factory.mktemp("elsewhere")

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}

    def ask(tool):
        command = [sys.executable, tool, "--help"]
        return subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(TOOLS, pool.map(ask, TOOLS), strict=True))
    assert not list(scratch.iterdir()), "--help must not write anything"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_help(tool, answers):
    answer = answers[tool]
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.lower().startswith("usage:")
    assert "--help" in answer.stdout
    # More than argparse's own lines: a sentence on what the tool is for.
    assert len(answer.stdout.splitlines()) > 5
    assert "Warning" not in answer.stderr
