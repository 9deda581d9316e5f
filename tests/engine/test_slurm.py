"""The SLURM script of docs/examples, where SLURM's programs are small ones that act only on this machine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "examples" / "slurm" / "train.sbatch"
PROGRAMS = {
    # Leaves its own options out; the rest is the command.
    "srun": 'echo $$ > "$NOTES/srun"; while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scancel": '[ "$*" = "--signal=TERM $SLURM_JOB_ID.0" ] && kill -TERM "$(cat "$NOTES/srun")"',
    "scontrol": """case "$*" in
        "show hostnames one,two") printf "127.0.0.1\\ntwo\\n" ;;
        *) echo "$*" > "$NOTES/scontrol" ;;
    esac""",
    "python": f'exec {sys.executable} "$@"',
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "one,two", "SLURM_JOB_NUM_NODES": "1"}
    return os.environ | slurm | {"NOTES": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_a_job_goes_on_after_its_time_limit(make_run, environment, tmp_path):
    run = make_run({"SOLVER.MAX_ITER": 100_000})

    def submit(*more: str) -> subprocess.Popen:
        command = ["bash", str(SCRIPT), *run.words, *more]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    with run.printed.open("w") as log:
        job = submit()
        while not (run.folder / "last_checkpoint").exists():
            assert job.poll() is None, run.printed.read_text()
            time.sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(120) == 0
        assert (tmp_path / "scontrol").read_text() == f"requeue {os.getpid()}\n"
        reached = int((run.folder / "last_checkpoint").read_text()[len("model_") : -len(".pth")])
        # The next time it may run to its end.
        (tmp_path / "scontrol").unlink()
        assert submit("SOLVER.MAX_ITER", str(reached + 3)).wait(120) == 0, run.printed.read_text()
    assert f"Starting training from iteration {reached + 1}\n" in run.printed.read_text()
    assert (run.folder / "last_checkpoint").read_text() == "model_final.pth"
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.slow
def test_a_run_that_fails_is_not_queued_again(environment, tmp_path):
    command = ["bash", str(SCRIPT), "--config-file", "nowhere.yaml"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode not in (0, None)
    assert "nowhere.yaml: is neither a file nor the name of a model" in done.stderr
    assert not (tmp_path / "scontrol").exists()
