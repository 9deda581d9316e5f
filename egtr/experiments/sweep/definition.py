"""Many training runs from one YAML file: settings times seeds; :mod:`egtr.experiments.sweep.runner` runs them.

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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egtr.config.loading import load_config
from egtr.config.yaml_file import read_config_file
from egtr.structures import EGTRError

RESULT_FILE = "result.json"

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
        content = read_json(self.folder / RESULT_FILE)
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
        content = read_config_file(self.config)
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
    content = read_config_file(path, "there is no such sweep file")
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
    if not values["METRICS"] or not all(isinstance(metric, str) for metric in values["METRICS"]):
        raise EGTRError(f"{path}: METRICS is {values['METRICS']}; give names such as sgdet/R@50")
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
            load_config(values["CONFIG"], to_options(overrides))
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


def to_options(overrides: Mapping[str, Any]) -> list[str]:
    """Keys and values in turn, as on a command line."""
    return [word for key, value in overrides.items() for word in (str(key), str(value))]


def read_json(path: Path) -> dict[str, Any]:
    """Content of a file that :func:`write_json` wrote; {} where there is none.

    Raises:
        EGTRError: it is damaged.
    """
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise EGTRError(f"{path}: damaged ({error}). Delete it; its run comes again") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` whole or not at all."""
    # A sweep that is killed while writing leaves no half file that counts as a result.
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, path)
