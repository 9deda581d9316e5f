"""Many training runs from one YAML file: settings times seeds. :mod:`egtr.experiments.sweep.runner` runs them.

A sweep file looks like this (only CONFIG and OUTPUT_DIR are required)::

    CONFIG: configs/scenes/egtr_train.yaml   # any path or name that --config-file takes
    OUTPUT_DIR: output/sweeps/example
    OVERRIDES: {SOLVER.IMS_PER_BATCH: 8}     # for all runs
    ITERATIONS: 500                          # SOLVER.MAX_ITER of all runs
    MAX_MINUTES: 10                          # a run that takes longer is stopped and counts as failed
    SETTINGS:                                # name to overrides
      base: {}
      sum: {MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION: SumPairs}
    GRID: {MODEL.EGTR.LOSS.K_NEG: [20, 80]}  # every setting with every combination of these
    SEEDS: [1, 2, 3]
    BASELINE: base, K_NEG=80                 # the setting to compare with; by default the first one
    METRICS: [sgdet/R@50, sgdet/mR@50]       # names in metrics.json, in percent
    REACH: {sgdet/R@50: 60}                  # also report after how many iterations a metric reaches a value
    SLOTS: 2                                 # runs at a time
    THREADS: 1                               # of each run (OMP_NUM_THREADS)
    RUNS_DIR: output/sweeps/runs             # folder of the runs, if several sweep files share some; else OUTPUT_DIR
    RECORD: sweeps/recorded.csv              # runs that --record keeps; they count as finished

``_BASE_`` names another sweep file to start from, as in configurations.
"""

import difflib
import hashlib
import inspect
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from egtr.checkpoint.files import replacing
from egtr.config.loading import find_config, load_config
from egtr.config.paths import fetch
from egtr.config.yaml_file import read_config_file
from egtr.structures import ConfigurationError, DataError, EGTRError

RESULT_FILE = "result.json"


@dataclass
class SweepFile:
    """The keys of a sweep file: their types, which OmegaConf checks, and their defaults."""

    CONFIG: str
    OUTPUT_DIR: str
    OVERRIDES: dict[str, Any] = field(default_factory=dict)
    ITERATIONS: int = 0
    MAX_MINUTES: float = 0.0
    SETTINGS: dict[str, dict[str, Any]] = field(default_factory=dict)
    GRID: dict[str, list[Any]] = field(default_factory=dict)
    SEEDS: list[int] = field(default_factory=lambda: [1])
    BASELINE: str = ""
    METRICS: list[str] = field(default_factory=lambda: ["sgdet/R@50", "sgdet/mR@50"])
    REACH: dict[str, float] = field(default_factory=dict)
    SLOTS: int = 1
    THREADS: int = 1
    RUNS_DIR: str = ""
    RECORD: str = ""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        setting: name of its setting.
        seed: its SEED.
        overrides: key to value, with SEED and OUTPUT_DIR.
        folder: its OUTPUT_DIR.
        fingerprint: hash of the configuration file (with its ``_BASE_``), the overrides and the seed, but not of the
            code and the defaults of the library.
    """

    setting: str
    seed: int
    overrides: Mapping[str, Any]
    folder: Path
    fingerprint: str

    def result(self) -> dict[str, Any] | None:
        """Read the result file of the run; return None unless the run has finished with the same fingerprint."""
        content = read_json(self.folder / RESULT_FILE)
        return content if content.get("fingerprint") == self.fingerprint else None


@dataclass(frozen=True)
class Sweep:
    """A sweep file, read and checked. ``settings`` include the grid; other attributes are the keys of the file."""

    config: str
    output_dir: Path
    runs_dir: Path
    record: Path | None
    settings: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    baseline: str
    metrics: tuple[str, ...]
    reach: Mapping[str, float]
    slots: int
    threads: int
    max_minutes: float | None

    def runs(self) -> list[Run]:
        """List all runs: every setting with the first seed, then with the second, so that comparisons come early."""
        content = read_config_file(self.config)
        found = []
        for seed, (name, overrides) in itertools.product(self.seeds, self.settings.items()):
            asked = json.dumps([content, overrides, seed], sort_keys=True, default=str)
            folder = self.runs_dir / slug(name) / f"seed{seed}"
            everything = {**overrides, "SEED": seed, "OUTPUT_DIR": str(folder)}
            found.append(Run(name, seed, everything, folder, hashlib.sha256(asked.encode()).hexdigest()[:16]))
        return found


def load_sweep(path: str | Path, baseline: str | None = None) -> Sweep:
    """Read a sweep file, and check every setting against the keys of the configuration before anything runs.

    Args:
        path: the sweep file.
        baseline: name of the setting to which the others are compared; BASELINE of the file by default.

    Raises:
        ConfigurationError: the file is missing, has unknown keys or values of the wrong type, or a setting cannot be
            applied.
    """
    path = str(path)
    file = _check_types(path, read_config_file(path, "there is no such sweep file"))
    for key in ("SLOTS", "THREADS"):
        if getattr(file, key) < 1:
            raise ConfigurationError(f"{path}: {key} is {getattr(file, key)}; it must be at least 1")
    if not file.METRICS:
        raise ConfigurationError(f"{path}: METRICS is []; give names such as sgdet/R@50")
    if not file.SEEDS or len(set(file.SEEDS)) < len(file.SEEDS) or min(file.SEEDS) < 0:
        raise ConfigurationError(f"{path}: SEEDS is {file.SEEDS}; give different integers, none negative")
    settings = _combine(path, file)
    baseline = baseline or file.BASELINE or next(iter(settings))
    if baseline not in settings:
        raise ConfigurationError(f"{path}: baseline {baseline!r} is none of the settings: {', '.join(settings)}")
    # A name may stand for a configuration or a model; the message about other texts is that of a missing file.
    config = file.CONFIG if file.CONFIG.endswith((".yaml", ".yml")) else find_config(file.CONFIG)
    for name, overrides in settings.items():
        try:
            weights = load_config(config, to_options(overrides)).MODEL.WEIGHTS
            if weights.startswith("egtr://models/"):
                # The runs could not ask whether they may fetch it.
                fetch(weights, "there is no such model")
        except EGTRError as error:
            raise ConfigurationError(f"{path}: setting {name!r}: {error}") from error
    return Sweep(
        config=config,
        output_dir=Path(file.OUTPUT_DIR),
        runs_dir=Path(file.RUNS_DIR or file.OUTPUT_DIR),
        record=Path(file.RECORD) if file.RECORD else None,
        settings=settings,
        seeds=tuple(file.SEEDS),
        baseline=baseline,
        metrics=tuple(file.METRICS),
        reach=file.REACH,
        slots=file.SLOTS,
        threads=file.THREADS,
        max_minutes=file.MAX_MINUTES or None,
    )


def _check_types(path: str, content: Mapping[str, Any]) -> SweepFile:
    known = [key.name for key in fields(SweepFile)]
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"keys are {', '.join(known)}"
            raise ConfigurationError(f"{path}: there is no key {key}; {hint}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SweepFile), content))
    except OmegaConfBaseException as error:
        key = re.match(r"\w+", error.full_key)[0]
        wanted = inspect.formatannotation(SweepFile.__annotations__[key]).replace("typing.", "")
        raise ConfigurationError(f"{path}: {key} is {content.get(key)!r}, expected {wanted}") from error


def _combine(path: str, file: SweepFile) -> dict[str, dict[str, Any]]:
    """Combine every setting with every combination of the grid: name to all overrides."""
    for key, values in file.GRID.items():
        if not values:
            raise ConfigurationError(f"{path}: GRID {key} is []; give a list of values")
    fixed = {**file.OVERRIDES, **({"SOLVER.MAX_ITER": file.ITERATIONS} if file.ITERATIONS else {})}
    short = {key: key.rpartition(".")[2] for key in file.GRID}
    names = short if len(set(short.values())) == len(short) else {key: key for key in file.GRID}
    combined = {}
    for (name, overrides), values in itertools.product(
        (file.SETTINGS or {"": {}}).items(), itertools.product(*file.GRID.values())
    ):
        cell = dict(zip(file.GRID, values, strict=True))
        parts = [name] * bool(file.SETTINGS) + [f"{names[key]}={value}" for key, value in cell.items()]
        combined[", ".join(parts) or "base"] = {**fixed, **overrides, **cell}
    if len({slug(name) for name in combined}) < len(combined):
        names = ", ".join(combined)
        raise ConfigurationError(f"{path}: names of settings must differ in letters and digits: {names}")
    return combined


def slug(name: str) -> str:
    """Write a setting's name as part of a file name."""
    return re.sub(r"[^\w.=+-]+", "_", name)


def to_options(overrides: Mapping[str, Any]) -> list[str]:
    """List keys and values in turn, as on a command line."""
    return [word for key, value in overrides.items() for word in (str(key), str(value))]


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that :func:`write_json` wrote; return {} if there is none.

    Raises:
        DataError: it is damaged.
    """
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}). Delete it; its run comes again") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` whole or not at all, so that no partial file of a killed sweep counts as a result."""
    with replacing(path) as file:
        file.write(f"{json.dumps(content, indent=2)}\n".encode())
