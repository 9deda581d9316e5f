"""The soak test sees what goes wrong: a process that stands in for training misbehaves in each way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.soak.run import Lost, Reference, Run
from egtr.checkpoint.files import write_checkpoint

# Writes the losses of the iterations from its first to its second argument, then runs its third.
CHILD = """
import json, os, sys
with open(sys.argv[1], "a") as file:
    for k in range(int(sys.argv[2]), int(sys.argv[3])):
        file.write(json.dumps({"iteration": k, "loss": k + 1.0}) + "\\n")
    file.write('{"iteration": 9')
exec(sys.argv[4])
"""


class ActedRun(Run):
    first, last, end = 0, 3, ""

    def start(self, data: Path, **options) -> subprocess.Popen:
        words = [self.losses_file, self.first, self.last, self.end]
        command = [sys.executable, "-S", "-c", CHILD, *map(str, words)]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)


def wait(run: Run, process: subprocess.Popen) -> None:
    process.wait()


@pytest.fixture
def reference() -> Reference:
    reference = object.__new__(Reference)
    reference.losses = {k: k + 1.0 for k in range(10)}
    reference.results = {"sgdet/R@50": 1.0}
    reference.weights = {"final.a": torch.tensor([1.0, 2.0]), "ema.a": torch.tensor([3.0])}
    return reference


@pytest.fixture
def run(tmp_path) -> ActedRun:
    run = ActedRun(tmp_path / "run")
    run.folder.mkdir()
    run.printed.touch()
    return run


def test_right_steps_are_counted(run, reference, tmp_path):
    assert run.advance(wait, tmp_path, reference) == 3
    write_checkpoint(str(run.folder / "model_0000001.pth"), {"iteration": 1})
    # Steps after the checkpoint are computed again.
    run.losses_file.unlink()
    run.first, run.last = 2, 7
    assert run.advance(wait, tmp_path, reference) == 5
    run.end = f"os.kill(os.getpid(), {signal.SIGKILL})"
    run.losses_file.unlink()
    assert run.advance(wait, tmp_path, reference) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": 1}, "went on with iteration 1 instead of 0"),
        ({"end": "sys.exit(1)"}, "exit status 1"),
        ({"end": "os.kill(os.getpid(), 15)"}, "exit status -15"),
    ],
)
def test_what_goes_wrong_is_seen(run, reference, tmp_path, changes, message):
    for name, value in changes.items():
        setattr(run, name, value)
    with pytest.raises(Lost, match=message):
        run.advance(wait, tmp_path, reference)


def test_loss_that_differs_is_seen(run, reference, tmp_path):
    # 1e-5 of 3 are 3e-5.
    reference.losses[2] = 3.0 + 2.9e-5
    assert run.advance(wait, tmp_path, reference) == 3
    run.losses_file.unlink()
    reference.losses[2] = 3.0 + 3.1e-5
    with pytest.raises(Lost, match="loss 3.0 instead of 3.000031 in iteration 2"):
        run.advance(wait, tmp_path, reference)


def test_refusal_is_expected(run, reference, tmp_path):
    run.end = "sys.exit(1)"
    assert run.advance(wait, tmp_path, reference, refuses=True) == 3
    run.losses_file.unlink()
    run.end = ""
    with pytest.raises(Lost, match="exit status 0"):
        run.advance(wait, tmp_path, reference, refuses=True)


def finish(run: Run, recall: float, weight: float, *more_lines: dict) -> None:
    lines = [{"iteration": 1, "time": 2.0}, {"iteration": 3, "sgdet/R@50": recall, "lr": 0.1}, *more_lines]
    (run.folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_checkpoint(str(run.folder / "model_final.pth"), {"model": {"a": torch.tensor([1.0, weight])}})
    write_checkpoint(str(run.folder / "model_ema.pth"), {"model": {"a": torch.tensor([3.0])}})


@pytest.mark.parametrize(
    ("recall", "weight", "line", "message"),
    [
        (1.0, 2.0, {"iteration": 3, "sgdet/R@50": 1.0, "time": 5.0}, None),
        (2.0, 2.0, {}, "results .* instead of"),
        (1.0, 2.001, {}, "final.a differs"),
        (1.0, 2.0, {"iteration": 3, "lr": 0.2}, "lr of iteration 3 is 0.1 and 0.2"),
    ],
)
def test_end_of_a_run(run, reference, recall, weight, line, message):
    assert not run.is_finished()
    finish(run, recall, weight, *([line] if line else []))
    assert run.is_finished()
    if message is None:
        run.check_end(reference)
    else:
        with pytest.raises(Lost, match=message):
            run.check_end(reference)


def test_damaged_checkpoints_do_not_count(run):
    for k in (4, 9):
        path = run.folder / f"model_000000{k}.pth"
        write_checkpoint(str(path), {"iteration": k})
        os.utime(path, (k, k))
    assert run.next_iteration() == 10
    path.write_bytes(path.read_bytes()[:-1])
    assert run.next_iteration() == 5
