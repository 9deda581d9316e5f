"""The soak test by its command: faults are injected, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_half_a_minute_of_faults(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "soak", "--minutes", "0.5", "--output", str(tmp_path / "soak")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| fault " in done.stdout and "data lost" in done.stdout
    tallies = json.loads((tmp_path / "soak/soak.json").read_text())["faults"]
    assert sum(tally["injected"] for tally in tallies.values()) >= 1
    for tally in tallies.values():
        assert tally["survived"] == tally["injected"] and tally["lost"] == 0


def test_options_reach_the_soak_test(tmp_path, monkeypatch):
    called = []

    class Recorder:
        def __init__(self, output, seed):
            called.append((output, seed))

        def run(self, minutes):
            called.append(minutes)
            return 1

    monkeypatch.setattr("benchmarks.soak.soak.Soak", Recorder)
    assert main(["soak", "--minutes", "2", "--output", str(tmp_path), "--seed", "3"]) == 1
    assert called == [(tmp_path, 3), 2.0]
