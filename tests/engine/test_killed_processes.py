"""Training in processes of their own, killed or asked to stop from outside."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.running import children

pytestmark = pytest.mark.slow


def test_kill_minus_nine(make_run):
    run = make_run({"MODEL.EGTR.TRANSFORMER.DROPOUT": 0.1})
    with run.start() as process:
        run.wait_for(process, 26)
        process.kill()
    expected = dict(run.losses)
    # Nothing after the fourth checkpoint was ever written.
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
        assert process.wait(120) == 0
    last = run.losses[-1][0]
    assert (run.folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"


def is_alive(pid: int) -> bool:
    try:
        # A zombie has ended, and its parent has not waited for it yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_a_process_that_fails(make_run):
    run = make_run({"DATALOADER.NUM_WORKERS": 2})
    with run.start() as process:
        run.wait_for(process, 1)
        workers = children(process.pid)
        assert len(workers) == 2
        # The second one is not waited for, and nothing but the end of the process ends the workers.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.wait(120)
        end = time.monotonic() + 30
        while any(is_alive(pid) for pid in workers) and time.monotonic() < end:
            time.sleep(0.1)
        assert not any(is_alive(pid) for pid in workers)


def test_a_worker_that_is_killed_ends_the_run_with_one_error(make_run):
    """As the system does it when memory runs out. What was written is sound, and the run goes on from there."""
    run = make_run({"DATALOADER.NUM_WORKERS": 1})
    with run.start() as process:
        run.wait_for(process, 8)
        [worker] = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        assert process.wait(120) == 1
    last_line = run.printed.read_text().rstrip().rpartition("\n")[2]
    # It shows in three ways: PyTorch's signal handler was called, the loader waited in vain, or the connection broke.
    died = rf"DataLoader worker \(pid(\(s\))? {worker}\) (is killed by|exited unexpectedly)"
    assert re.match(rf"soak: ({died}|A DataLoader worker has ended \()", last_line)
    assert "memory" in last_line and "Lower DATALOADER.NUM_WORKERS" in last_line and "--resume" in last_line
    kept = int((run.folder / "last_checkpoint").read_text()[len("model_") :][:7])
    before = len(run.losses)
    with run.start() as process:
        run.wait_for(process, before + 4)
    assert run.losses[before][0] == kept + 1


def test_signal_to_the_process_that_started_two(make_run):
    run = make_run(words=("--num-gpus", "2"))
    with run.start() as process:
        run.wait_for(process, 6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    last = max(iteration for iteration, _ in run.losses)
    assert (run.folder / "last_checkpoint").read_text() == f"model_{last:07d}.pth"
    before = len(run.losses)
    with run.start() as process:
        run.wait_for(process, before + 4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert run.losses[before][0] == last + 1
