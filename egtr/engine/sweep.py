"""Many training runs from one YAML file: settings times seeds, resumable, a process for each free slot.

A sweep file looks like this (every key but CONFIG and OUTPUT_DIR may be left out)::

    CONFIG: configs/scenes/egtr_train.yaml   # any path that --config-file takes
    OUTPUT_DIR: output/sweeps/example
    OVERRIDES: {SOLVER.IMS_PER_BATCH: 8}     # for all runs
    ITERATIONS: 500                          # SOLVER.MAX_ITER of all runs
    MAX_MINUTES: 10                          # a run that takes longer is stopped and counts as failed
    SETTINGS:                                # name to overrides
      base: {}
      sum: {MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION: SumPairs}
    GRID: {MODEL.EGTR.LOSS.K_NEG: [20, 80]}  # every setting with every combination of these
    SEEDS: [1, 2, 3]
    BASELINE: base, K_NEG=80                 # what differences are taken to; by default the first setting
    METRICS: [sgdet/R@50, sgdet/mR@50]       # names in metrics.json, in percent
    SLOTS: 2                                 # runs at a time
    THREADS: 1                               # of each run (OMP_NUM_THREADS)

``_BASE_`` takes another sweep file as a start, as in configurations.
"""

import difflib
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from egtr.structures import EGTRError

from .defaults import load_config
from .paths import fetch

RESULT_FILE, STARTED_FILE, OUTPUT_FILE = "result.json", "started.json", "output.txt"
# Seconds between two looks at the running processes, and those that a stopped process has to end.
_POLL, _GRACE = 0.2, 10.0

# Keys of a sweep file: kind and default.
_FIELDS: dict[str, tuple[Any, Any]] = {
    "CONFIG": (str, None),
    "OUTPUT_DIR": (str, None),
    "OVERRIDES": (Mapping, {}),
    "ITERATIONS": (int, 0),
    "MAX_MINUTES": (int | float, 0),
    "SETTINGS": (Mapping, {}),
    "GRID": (Mapping, {}),
    "SEEDS": (list, [1]),
    "BASELINE": (str, ""),
    "METRICS": (list, ["sgdet/R@50", "sgdet/mR@50"]),
    "SLOTS": (int, 1),
    "THREADS": (int, 1),
}


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        setting: name of its setting.
        seed: its SEED.
        overrides: key to value, SEED and OUTPUT_DIR included.
        folder: its OUTPUT_DIR.
        fingerprint: hash of what was asked for: the configuration file (its ``_BASE_`` included), overrides and seed.
            The library's own code and defaults are not part of it.
    """

    setting: str
    seed: int
    overrides: Mapping[str, Any]
    folder: Path
    fingerprint: str

    def result(self) -> dict[str, Any] | None:
        """Content of its result file; None unless it has finished with this very fingerprint."""
        content = _read_json(self.folder / RESULT_FILE)
        return content if content.get("fingerprint") == self.fingerprint else None


@dataclass(frozen=True)
class Sweep:
    """A sweep file, read and checked. ``settings`` include the grid; the other attributes are the file's keys."""

    config: str
    output_dir: Path
    settings: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    baseline: str
    metrics: tuple[str, ...]
    slots: int
    threads: int
    max_minutes: float | None

    def runs(self) -> list[Run]:
        """All runs: every setting with the first seed, then with the second, so that comparisons come early."""
        content = CfgNode.load_yaml_with_base(self.config, allow_unsafe=False)
        found = []
        for seed, (name, overrides) in itertools.product(self.seeds, self.settings.items()):
            asked = json.dumps([content, overrides, seed], sort_keys=True, default=str)
            folder = self.output_dir / _slug(name) / f"seed{seed}"
            everything = {**overrides, "SEED": seed, "OUTPUT_DIR": str(folder)}
            found.append(Run(name, seed, everything, folder, hashlib.sha256(asked.encode()).hexdigest()[:16]))
        return found


def load_sweep(path: str | Path) -> Sweep:
    """Read a sweep file, and check every setting against the keys of the configuration before anything runs.

    Raises:
        EGTRError: the file is missing, has unknown keys or values of the wrong kind, or a setting cannot be applied.
    """
    path = str(path)
    fetch(path, "there is no such sweep file")
    try:
        content = CfgNode.load_yaml_with_base(path, allow_unsafe=False)
    except (yaml.YAMLError, TypeError, OSError) as error:
        raise EGTRError(f"{path}: not a readable YAML mapping: {' '.join(str(error).split())}") from error
    for key in content:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, n=1)
            raise EGTRError(f"{path}: there is no key {key}; did you mean {(near or [', '.join(_FIELDS)])[0]}?")
    values = {key: content.get(key, default) for key, (_, default) in _FIELDS.items()}
    for key, (kind, _) in _FIELDS.items():
        if not isinstance(values[key], kind):
            wanted = getattr(kind, "__name__", "number")
            raise EGTRError(f"{path}: {key} is {values[key]!r}, expected a {wanted.lower()}")
    for key in ("SLOTS", "THREADS"):
        if values[key] < 1:
            raise EGTRError(f"{path}: {key} is {values[key]}; it must be at least 1")
    seeds = values["SEEDS"]
    if not seeds or len(set(seeds)) < len(seeds) or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise EGTRError(f"{path}: SEEDS is {seeds}; give different integers, none negative")
    fixed = dict(values["OVERRIDES"])
    if values["ITERATIONS"]:
        fixed["SOLVER.MAX_ITER"] = values["ITERATIONS"]
    settings = _combine(path, fixed, values["SETTINGS"], values["GRID"])
    baseline = values["BASELINE"] or next(iter(settings))
    if baseline not in settings:
        raise EGTRError(f"{path}: BASELINE {baseline!r} is none of the settings: {', '.join(settings)}")
    for name, overrides in settings.items():
        try:
            load_config(values["CONFIG"], _to_options(overrides))
        except EGTRError as error:
            raise EGTRError(f"{path}: setting {name!r}: {error}") from error
    return Sweep(
        config=values["CONFIG"],
        output_dir=Path(values["OUTPUT_DIR"]),
        settings=settings,
        seeds=tuple(seeds),
        baseline=baseline,
        metrics=tuple(values["METRICS"]),
        slots=values["SLOTS"],
        threads=values["THREADS"],
        max_minutes=values["MAX_MINUTES"] or None,
    )


def run_sweep(sweep: Sweep, train_script: str | Path, extensions: Sequence[str] = ()) -> list[Run]:
    """Run what has no result yet; prints a line for each run.

    A run that was interrupted goes on from its last checkpoint. One that fails is reported and does not stop the
    others; it is tried again when the sweep is started again. An interrupt (Ctrl-C) stops the running processes.

    Args:
        train_script: ``tools/train_net.py`` or another with its arguments.
        extensions: for its ``--extension``.

    Returns:
        The runs that failed.
    """
    runs = sweep.runs()
    waiting = [run for run in runs if run.result() is None]
    print(
        f"{len(runs)} runs: {len(runs) - len(waiting)} finished before, {len(waiting)} to do, {sweep.slots} at a time"
    )
    command = [sys.executable, str(train_script), "--config-file", sweep.config]
    command += [word for name in extensions for word in ("--extension", name)]
    active: list[_Process] = []
    failed: list[Run] = []
    done = len(runs) - len(waiting)
    try:
        while waiting or active:
            while waiting and len(active) < sweep.slots:
                active.append(_Process(waiting.pop(0), command, sweep))
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
    """A run that is running."""

    def __init__(self, run: Run, command: Sequence[str], sweep: Sweep):
        self.run, self.wanted = run, sweep.metrics
        self.metrics: dict[str, float] = {}
        self.limit = sweep.max_minutes and 60 * sweep.max_minutes
        self.begin = time.monotonic()
        run.folder.mkdir(parents=True, exist_ok=True)
        resumes = _read_json(run.folder / STARTED_FILE).get("fingerprint") == run.fingerprint
        if not resumes:
            # Metrics are appended to this file, and another configuration's must not count.
            (run.folder / "metrics.json").unlink(missing_ok=True)
            _write_json(run.folder / STARTED_FILE, {"fingerprint": run.fingerprint})
        threads = {f"{name}_NUM_THREADS": str(sweep.threads) for name in ("OMP", "MKL", "OPENBLAS")}
        with (run.folder / OUTPUT_FILE).open("ab" if resumes else "wb") as output:
            # In a session of its own, so that it can be stopped together with its data workers.
            self.process = subprocess.Popen(
                [*command, *(["--resume"] if resumes else []), *_to_options(run.overrides)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **threads},
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def has_ended(self) -> bool:
        return self.process.poll() is not None or self._is_late()

    def _is_late(self) -> bool:
        return bool(self.limit) and self.seconds > self.limit

    def finish(self) -> str:
        """Write the result file; returns what went wrong, "" where nothing did."""
        output = self.run.folder / OUTPUT_FILE
        if self.process.poll() is None:
            self.stop()
            return f"FAILED: stopped after MAX_MINUTES ({self.limit / 60:g}); see {output}"
        if self.process.returncode:
            last = output.read_text(errors="replace").strip().rpartition("\n")[2]
            return f"FAILED: exit status {self.process.returncode}: {last} (see {output})"
        self.metrics = _last_evaluation(self.run.folder / "metrics.json")
        missing = [name for name in self.wanted if name not in self.metrics]
        if missing:
            there = ", ".join(self.metrics) or "none"
            return f"FAILED: no {', '.join(missing)} among its metrics (METRICS); there are: {there}"
        content = {"setting": self.run.setting, "seed": self.run.seed, "fingerprint": self.run.fingerprint}
        content |= {"overrides": dict(self.run.overrides), "seconds": round(self.seconds, 1), "metrics": self.metrics}
        _write_json(self.run.folder / RESULT_FILE, content)
        return ""

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(_GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _combine(path: str, fixed: Mapping, settings: Mapping, grid: Mapping) -> dict[str, dict[str, Any]]:
    """Name to all overrides of every setting with every combination of the grid."""
    for name, overrides in settings.items():
        if not isinstance(overrides, Mapping):
            raise EGTRError(f"{path}: SETTINGS {name!r} is {overrides!r}, expected a mapping of keys to values")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise EGTRError(f"{path}: GRID {key} is {values!r}, expected a list of values")
    short = {key: key.rpartition(".")[2] for key in grid}
    names = short if len(set(short.values())) == len(short) else {key: key for key in grid}
    combined = {}
    for (name, overrides), values in itertools.product(
        (settings or {"": {}}).items(), itertools.product(*grid.values())
    ):
        cell = dict(zip(grid, values, strict=True))
        parts = [str(name)] * bool(settings) + [f"{names[key]}={value}" for key, value in cell.items()]
        combined[", ".join(parts) or "base"] = {**fixed, **overrides, **cell}
    if len({_slug(name) for name in combined}) < len(combined):
        raise EGTRError(f"{path}: names of settings must differ in letters and digits: {', '.join(combined)}")
    return combined


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", name)


def _to_options(overrides: Mapping[str, Any]) -> list[str]:
    return [word for key, value in overrides.items() for word in (key, str(value))]


def _last_evaluation(path: Path) -> dict[str, float]:
    """Metrics of the last evaluation in a ``metrics.json`` of Detectron2: those with a slash in their name."""
    found: dict[str, float] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        metrics = {name: value for name, value in json.loads(line).items() if "/" in name}
        found = metrics or found
    return found


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    # A sweep that is killed while writing leaves no half file that counts as a result.
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, path)
