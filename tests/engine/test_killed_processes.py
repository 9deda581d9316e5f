"""Training in processes of their own, killed or asked to stop from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


class Run:
    """A run of :mod:`egtr.engine.soak.child` in a folder; ``losses`` are all that any of its processes wrote."""

    def __init__(self, folder: Path, options: dict, words: list[str]):
        self.folder, self.file = folder / "run", folder / "losses.jsonl"
        options = options | {"OUTPUT_DIR": str(self.folder)}
        self.words = [*words, *(str(word) for pair in options.items() for word in pair)]

    def start(self, **popen) -> subprocess.Popen:
        command = [sys.executable, "-m", "egtr.engine.soak.child", str(self.file), "0", "--resume", *self.words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)

    @property
    def losses(self) -> list[tuple[int, float]]:
        lines = self.file.read_text().splitlines(keepends=True) if self.file.exists() else []
        return [tuple(json.loads(line).values()) for line in lines if line.endswith("\n")]

    def wait_for(self, process: subprocess.Popen, number: int) -> None:
        while len(self.losses) < number:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.02)


@pytest.fixture
def make_run(tiny_options, tiny_dataset, tmp_path):
    rows = [
        [name, "egtr", str(tiny_dataset.root / f"{split}.json"), str(tiny_dataset.root / "images")]
        for name, split in (("mine_train", "train"), ("mine_val", "val"))
    ]
    options = tiny_options | {
        "DATASETS.REGISTER": json.dumps(rows),
        "DATASETS.TRAIN": ("mine_train",),
        "DATASETS.TEST": (),
        "SOLVER.MAX_ITER": 100000,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.KEEP_CHECKPOINTS": 2,
    }

    def make(changes: dict | None = None, words: tuple[str, ...] = ()) -> Run:
        return Run(tmp_path, options | (changes or {}), list(words))

    return make


def test_kill_minus_nine(make_run):
    run = make_run({"MODEL.EGTR.TRANSFORMER.DROPOUT": 0.1})
    with run.start() as process:
        run.wait_for(process, 26)
        process.kill()
    expected = dict(run.losses)
    # What followed the fourth checkpoint never was.
    for path in sorted(run.folder.glob("model_*.pth")):
        path.unlink()
    run.file.unlink()
    with run.start() as process:
        run.wait_for(process, 5)
        process.kill()
    with run.start() as process:
        run.wait_for(process, 26)
        process.kill()
    for iteration, loss in run.losses[:26]:
        assert loss == pytest.approx(expected[iteration], rel=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_to_all_processes_of_a_run_with_workers(make_run, number):
    run = make_run({"DATALOADER.NUM_WORKERS": 2})
    with run.start(start_new_session=True) as process:
        run.wait_for(process, 3)
        os.killpg(process.pid, number)
        assert process.wait(30) == 0
    last = run.losses[-1][0]
    assert (run.folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"


def test_signal_to_the_process_that_started_two(make_run):
    run = make_run(words=("--num-gpus", "2"))
    with run.start(start_new_session=True) as process:
        run.wait_for(process, 6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    last = max(iteration for iteration, _ in run.losses)
    assert (run.folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"
    before = len(run.losses)
    with run.start(start_new_session=True) as process:
        run.wait_for(process, before + 4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert run.losses[before][0] == last + 1
