import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_minute_of_faults(tmp_path):
    command = [
        sys.executable,
        "benchmarks/soak/command_line.py",
        "--minutes",
        "1",
        "--output",
        str(tmp_path / "soak"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| fault " in done.stdout and "data lost" in done.stdout
    tallies = json.loads((tmp_path / "soak/soak.json").read_text())["faults"]
    assert sum(tally["injected"] for tally in tallies.values()) >= 1
    for tally in tallies.values():
        assert tally["survived"] == tally["injected"] and tally["lost"] == 0
