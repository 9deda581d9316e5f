"""Training in processes of their own, killed or asked to stop from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


class Run:
    """A run of :mod:`egtr.engine.soak.child` in a folder; ``losses`` are all that any of its processes wrote."""

    def __init__(self, folder: Path, options: dict, words: list[str]):
        self.folder, self.file, self.printed = folder / "run", folder / "losses.jsonl", folder / "printed.txt"
        options = options | {"OUTPUT_DIR": str(self.folder)}
        self.words = [*words, *(str(word) for pair in options.items() for word in pair)]

    @contextmanager
    def start(self) -> Iterator[subprocess.Popen]:
        """The run, in a group of processes of its own, of which none is left in the end."""
        command = [sys.executable, "-m", "egtr.engine.soak.child", str(self.file), "0", "--resume", *self.words]
        with self.printed.open("w") as printed:
            process = subprocess.Popen(command, stdout=printed, stderr=printed, start_new_session=True)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def losses(self) -> list[tuple[int, float]]:
        lines = self.file.read_text().splitlines(keepends=True) if self.file.exists() else []
        return [tuple(json.loads(line).values()) for line in lines if line.endswith("\n")]

    def wait_for(self, process: subprocess.Popen, number: int) -> None:
        while len(self.losses) < number:
            assert process.poll() is None, self.printed.read_text()
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
        "SOLVER.MAX_ITER": 300,
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
    with run.start() as process:
        run.wait_for(process, 3)
        os.killpg(process.pid, number)
        assert process.wait(30) == 0
    last = run.losses[-1][0]
    assert (run.folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"


def is_alive(pid: int) -> bool:
    try:
        # A zombie is one that nobody has waited for yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_a_process_that_fails(make_run):
    run = make_run({"DATALOADER.NUM_WORKERS": 2})
    with run.start() as process:
        run.wait_for(process, 1)
        workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(workers) == 2
        # The second one is not waited for, and nothing but the end of the process ends the workers.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        end = time.monotonic() + 30
        while any(is_alive(pid) for pid in workers) and time.monotonic() < end:
            time.sleep(0.1)
        assert not any(is_alive(pid) for pid in workers)


def test_signal_to_the_process_that_started_two(make_run):
    run = make_run(words=("--num-gpus", "2"))
    with run.start() as process:
        run.wait_for(process, 6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    last = max(iteration for iteration, _ in run.losses)
    assert (run.folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"
    before = len(run.losses)
    with run.start() as process:
        run.wait_for(process, before + 4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert run.losses[before][0] == last + 1
