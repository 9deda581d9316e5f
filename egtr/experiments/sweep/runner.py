"""Running a sweep: resumable, with a process for each free slot."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from egtr.structures import ConfigurationError, EGTRError

from .definition import RESULT_FILE, Run, Sweep, read_json, to_options, write_json
from .evaluations import finished_runs

STARTED_FILE, OUTPUT_FILE, LOCK_FILE = "started.json", "output.txt", "lock"
# Seconds between two checks of the running processes, and seconds that a stopped process gets to end.
_POLL, _GRACE = 0.2, 10.0


def run_sweep(sweep: Sweep, train_script: str | Path | None = None, extensions: Sequence[str] = ()) -> list[Run]:
    """Start all runs that have no result yet, and print a line for each run.

    An interrupted run continues from its last checkpoint. A run that fails is reported and does not stop the others;
    it is tried again when the sweep is started again. An interrupt (Ctrl-C) stops the running processes.

    Args:
        train_script: a script with the arguments of ``egtr train``; None: that command itself.
        extensions: files or modules for its ``--extension``.

    Returns:
        The runs that failed.
    """
    runs = sweep.runs()
    finished = finished_runs(sweep)
    waiting = [run for run in runs if run not in finished]
    print(
        f"{len(runs)} runs: {len(runs) - len(waiting)} finished before, {len(waiting)} to do, {sweep.slots} at a time"
    )
    program = ["-m", "egtr", "train"] if train_script is None else [str(train_script)]
    command = [sys.executable, *program, "--config-file", sweep.config]
    command += [word for name in extensions for word in ("--extension", name)]
    active: list[_Process] = []
    failed: list[Run] = []
    done = len(runs) - len(waiting)
    try:
        while waiting or active:
            while waiting and len(active) < sweep.slots:
                run = waiting.pop(0)
                try:
                    active.append(_Process(run, command, sweep))
                except EGTRError as error:
                    done += 1
                    failed.append(run)
                    print(f"[{done}/{len(runs)}] {run.setting}, seed {run.seed}: FAILED: {error}", flush=True)
            time.sleep(_POLL)
            for process in [process for process in active if process.has_ended()]:
                active.remove(process)
                done += 1
                error = process.finish()
                if error:
                    failed.append(process.run)
                outcome = error or ", ".join(f"{m} {process.metrics[m]:.2f}" for m in sweep.metrics)
                where = f"[{done}/{len(runs)}] {process.run.setting}, seed {process.run.seed}"
                print(f"{where} ({process.seconds:.0f} s): {outcome}", flush=True)
    finally:
        for process in active:
            process.stop()
    return failed


class _Process:
    """A run whose process is running.

    Raises:
        ConfigurationError: its folder is in use, by another sweep or by a run that is still going after its sweep was
            killed.
    """

    def __init__(self, run: Run, command: Sequence[str], sweep: Sweep):
        self.run, self.wanted = run, sweep.metrics
        self.metrics: dict[str, float] = {}
        self.limit = sweep.max_minutes and 60 * sweep.max_minutes
        self.begin = time.monotonic()
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(run.folder)
        resumes = read_json(run.folder / STARTED_FILE).get("fingerprint") == run.fingerprint
        if not resumes:
            # Metrics are appended to this file, and those of another configuration must not count, nor its end.
            for pattern in ("metrics.json", "last_checkpoint", "model_*.pth"):
                for path in run.folder.glob(pattern):
                    path.unlink()
            write_json(run.folder / STARTED_FILE, {"fingerprint": run.fingerprint})
        threads = {f"{name}_NUM_THREADS": str(sweep.threads) for name in ("OMP", "MKL", "OPENBLAS")}
        # The process inherits the lock and holds it until it ends.
        with lock, (run.folder / OUTPUT_FILE).open("ab" if resumes else "wb") as output:
            # In a session of its own, so that it can be stopped together with its data workers.
            self.process = subprocess.Popen(
                [*command, *(["--resume"] if resumes else []), *to_options(run.overrides)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **threads},
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def has_ended(self) -> bool:
        return self.process.poll() is not None or self._is_late()

    def _is_late(self) -> bool:
        return bool(self.limit) and self.seconds > self.limit

    def finish(self) -> str:
        """Write the result file; return a description of the failure, or "" if there is none."""
        output = self.run.folder / OUTPUT_FILE
        if self.process.poll() is None:
            self.stop()
            return f"FAILED: stopped after MAX_MINUTES ({self.limit / 60:g}); see {output}"
        if self.process.returncode:
            last = output.read_text(errors="replace").strip().rpartition("\n")[2]
            return f"FAILED: exit status {self.process.returncode}: {last} (see {output})"
        # A run that a signal stops, such as a cluster's, ends with status 0 as well.
        if not _has_reached_its_end(self.run.folder):
            return f"FAILED: stopped before its end; the same command goes on with it; see {output}"
        self.metrics = _last_evaluation(self.run.folder / "metrics.json")
        missing = [name for name in self.wanted if name not in self.metrics]
        if missing:
            there = ", ".join(self.metrics) or "none"
            return f"FAILED: no {', '.join(missing)} among its metrics (METRICS); there are: {there}"
        content = {"setting": self.run.setting, "seed": self.run.seed, "fingerprint": self.run.fingerprint}
        content |= {"overrides": dict(self.run.overrides), "seconds": round(self.seconds, 1), "metrics": self.metrics}
        write_json(self.run.folder / RESULT_FILE, content)
        return ""

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(_GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _lock(folder: Path) -> IO:
    """Lock the folder: return an open file, whose lock is passed on with the file."""
    lock = (folder / LOCK_FILE).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ConfigurationError(
            f"{folder}: a run of another sweep is at work there, perhaps one that was killed. Wait for it or end it"
        ) from error
    return lock


def _has_reached_its_end(folder: Path) -> bool:
    last = folder / "last_checkpoint"
    return last.is_file() and last.read_text().strip() == "model_final.pth"


def _last_evaluation(path: Path) -> dict[str, float]:
    """Read the metrics of the last evaluation in a ``metrics.json``: those with a slash in their names."""
    found: dict[str, float] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        found = {name: value for name, value in json.loads(line).items() if "/" in name} or found
    return found
