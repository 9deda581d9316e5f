"""Training under torchrun and over several machines, which here are several launchers on one."""

import os
import signal
import socket
import time
from contextlib import ExitStack

import pytest

from egtr.config import egtr_argument_parser
from egtr.engine import launch
from egtr.structures import EGTRError
from tests.running import Run, children

TORCHRUN = ("-m", "torch.distributed.run", "--max-restarts", "2", "--nproc-per-node")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def check_losses(run: Run) -> list[int]:
    """Iterations that were trained, in order; whatever was trained twice must have come to the same."""
    known: dict[int, float] = {}
    for iteration, loss in run.losses:
        assert loss == pytest.approx(known.setdefault(iteration, loss), rel=1e-5)
    return sorted(known)


@pytest.mark.slow
def test_two_machines_go_on_when_a_process_is_killed(make_run, monkeypatch):
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    run = make_run({"SOLVER.CHECKPOINT_PERIOD": 10, "SOLVER.MAX_ITER": 100_000})
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "1")
    with ExitStack() as stack:
        machines = [stack.enter_context(run.start((*TORCHRUN, "1", "--nnodes", "2", *meeting))) for _ in range(2)]
        # Two lines a step, one of each process.
        run.wait_for(machines[0], 2 * 13)
        killed = children(machines[1].pid)
        assert len(killed) == 1
        os.kill(killed[0], signal.SIGKILL)
        run.wait_for(machines[0], len(run.losses) + 2 * 15)
        assert children(machines[1].pid) != killed
        os.kill(machines[0].pid, signal.SIGTERM)
        machines[0].wait(60)
        # The other launcher's process has ended, too; the launcher itself would wait for its lost neighbour.
        latest = time.monotonic() + 60
        while children(machines[1].pid):
            assert time.monotonic() < latest
            time.sleep(0.1)
    iterations = check_losses(run)
    assert iterations == list(range(len(iterations)))
    # SIGTERM to one launcher ends the processes of both, with a checkpoint.
    assert (run.folder / "last_checkpoint").read_text() == f"model_{iterations[-1]:07d}.pth"


@pytest.mark.slow
def test_two_machines_without_torchrun(make_run):
    words = ("--num-machines", "2", "--dist-url", f"tcp://127.0.0.1:{free_port()}", "--machine-rank")
    options = {"SOLVER.MAX_ITER": 4, "SOLVER.CHECKPOINT_PERIOD": 10}
    runs = [make_run(options, (*words, str(rank))) for rank in range(2)]
    with ExitStack() as stack:
        machines = [stack.enter_context(run.start()) for run in runs]
        assert [machine.wait(300) for machine in machines] == [0, 0], runs[0].printed.read_text()
    assert len(runs[0].losses) == 8
    assert check_losses(runs[0]) == [0, 1, 2, 3]
    assert (runs[0].folder / "last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.slow
def test_restarts_of_several_machines_need_places_of_their_own(make_run):
    """The message, of real launchers that share a store as they do if nothing else is said."""
    run = make_run({"SOLVER.MAX_ITER": 4})
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", "1")
    words = ("-m", "torch.distributed.run", "--max-restarts", "1", "--nproc-per-node", "1", "--nnodes", "2", *meeting)
    with ExitStack() as stack:
        machines = [stack.enter_context(run.start(words)) for _ in range(2)]
        assert 0 not in [machine.wait(300) for machine in machines]
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in run.printed.read_text() and not run.losses


def launch_anything(*words: str) -> None:
    launch(lambda args: pytest.fail("it was started"), egtr_argument_parser().parse_args(words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--max-restarts: a run that is restarted would start over. Add --resume"),
        (("--resume",), "wait for each other for ever. Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"),
        (("--resume", "--num-gpus", "2"), "give it --nproc-per-node, and no --num-gpus"),
        (("--resume", "--num-machines", "2"), "give it --nproc-per-node, and no --num-gpus"),
    ],
)
def test_what_torchrun_asks_for(words, message, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(EGTRError, match=message):
        launch_anything(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--num-gpus", "0"), "must be at least 1"),
        (("--num-machines", "2"), "say where machine 0 is, with --dist-url tcp://HOST:PORT"),
        (("--num-machines", "2", "--dist-url", "tcp://a:1", "--machine-rank", "2"), "2: 2 machines have 0 to 1"),
    ],
)
def test_impossible_processes(words, message):
    with pytest.raises(EGTRError, match=message):
        launch_anything(*words)
