"""Evaluations of the runs of a sweep, from their folders or from a file of recorded runs."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from egtr.evaluation.report import write_csv
from egtr.structures import ConfigurationError, DataError

from ..training_curves import Curve, count_iterations, read_metrics
from .definition import RESULT_FILE, Run, Sweep

QUANTILES = ("uncertainty_q10", "uncertainty_q50", "uncertainty_q90")
_SPREAD = "uncertainty_spread"
_RUN = ("setting", "seed", "fingerprint", "iteration")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a finished run.

    Attributes:
        setting, seed: the run.
        fingerprint: hash of its configuration, as of a :class:`~egtr.experiments.sweep.definition.Run`.
        iteration: number of iterations so far.
        metrics: name (with a slash) to percent, of all metrics that are known.
        uncertainty: the quantiles of uncertainty that were logged last before, by name; empty without a log of them.
        spread: largest difference so far between the 90% and the 10% quantile; NaN without a log of them.
    """

    setting: str
    seed: int
    fingerprint: str
    iteration: int
    metrics: Mapping[str, float]
    uncertainty: Mapping[str, float]
    spread: float


def list_evaluations(sweep: Sweep) -> list[Evaluation]:
    """List the evaluations of all finished runs, run by run, in the course of training.

    A run that has its own folder is read from there, and otherwise from the RECORD of the sweep.

    Raises:
        ConfigurationError: a run has none of the METRICS of the sweep at its end.
        DataError: a file cannot be read.
    """
    recorded = read_record(sweep.record)
    found: list[Evaluation] = []
    for run in sweep.runs():
        result = run.result()
        mine = (
            _of_folder(run, result["metrics"], sweep.metrics) if result is not None else recorded.get(_key(run), [])
        )
        if mine:
            where = run.folder / RESULT_FILE if result is not None else sweep.record
            missing = [name for name in sweep.metrics if name not in mine[-1].metrics]
            if missing:
                there = ", ".join(mine[-1].metrics)
                raise ConfigurationError(f"METRICS: {where} has no {', '.join(missing)}; there are: {there}")
        found += mine
    return found


def _key(run: Run | Evaluation) -> tuple[str, int, str]:
    return run.setting, run.seed, run.fingerprint


def finished_runs(sweep: Sweep) -> list[Run]:
    """List the runs of a sweep that have a result in their folder, or rows in its RECORD."""
    recorded = read_record(sweep.record)
    return [run for run in sweep.runs() if run.result() is not None or _key(run) in recorded]


def _of_folder(run: Run, last: Mapping[str, float], wanted: Sequence[str]) -> list[Evaluation]:
    """Read the evaluations in a run's metrics.json that have a wanted metric; without any, ``last``, the result."""
    path = run.folder / "metrics.json"
    curves = read_metrics(path) if path.is_file() else {}
    rows: dict[int, dict[str, float]] = {}
    logged: dict[int, int] = {}
    for name, (iterations, values) in curves.items():
        for at, value in zip(iterations, values, strict=True) if "/" in name else ():
            count = count_iterations(curves, int(at))
            rows.setdefault(count, {})[name] = float(value)
            logged[count] = int(at)
    # Other numbers with a slash in their names, such as unweighted losses, are logged more often.
    rows = {count: found for count, found in rows.items() if any(name in found for name in wanted)}
    if not rows:
        rows, logged = {0: dict(last)}, {0: 0}
    return [
        Evaluation(*_key(run), count, rows[count], _quantiles(curves, logged[count]), _spread(curves, logged[count]))
        for count in sorted(rows)
    ]


def _quantiles(curves: Mapping[str, Curve], end: int) -> dict[str, float]:
    known = {}
    for name in QUANTILES:
        before = [value for at, value in zip(*curves.get(name, ((), ())), strict=True) if at <= end]
        if before:
            known[name] = float(before[-1])
    return known


def _spread(curves: Mapping[str, Curve], end: int) -> float:
    low, high = (dict(zip(*curves.get(name, ((), ())), strict=True)) for name in (QUANTILES[0], QUANTILES[2]))
    both = [float(high[at] - low[at]) for at in high if at in low and at <= end]
    return max(both, default=math.nan)


def to_rows(evaluations: list[Evaluation], metrics: tuple[str, ...]) -> list[dict[str, str | int | float]]:
    """Convert evaluations to the rows of a CSV file, with these metrics only; NaN where there is no number."""
    return [
        {"setting": e.setting, "seed": e.seed, "fingerprint": e.fingerprint, "iteration": e.iteration}
        | {name: e.metrics.get(name, math.nan) for name in metrics}
        | {name: e.uncertainty.get(name, math.nan) for name in QUANTILES}
        | {_SPREAD: e.spread}
        for e in evaluations
    ]


def read_record(path: Path | None) -> dict[tuple[str, int, str], list[Evaluation]]:
    """Read a file of recorded runs: (setting, seed, fingerprint) to evaluations; {} if there is no such file yet.

    Raises:
        DataError: it cannot be read, lacks a column, or a cell is no number.
    """
    if path is None or not path.is_file():
        return {}
    found: dict[tuple[str, int, str], list[Evaluation]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                setting, seed, fingerprint, iteration = (row.pop(name) for name in _RUN)
                numbers = {name: float(cell) for name, cell in row.items() if cell}
                evaluation = Evaluation(
                    setting, int(seed), fingerprint, int(iteration),
                    {name: value for name, value in numbers.items() if "/" in name},
                    {name: numbers[name] for name in QUANTILES if name in numbers},
                    numbers.get(_SPREAD, math.nan),
                )  # fmt: skip
                found.setdefault(_key(evaluation), []).append(evaluation)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as recorded runs ({error!r}); it needs the columns of evaluations.csv, which "
            "`egtr sweep` writes"
        ) from error
    return {key: sorted(rows, key=lambda e: e.iteration) for key, rows in found.items()}


def record(sweep: Sweep) -> Path:
    """Write the finished runs of a sweep into its RECORD. All other runs stay there, also those of other settings.

    Raises:
        ConfigurationError: the sweep names no RECORD.
    """
    if sweep.record is None:
        raise ConfigurationError("The sweep file has no RECORD; give it the path of a CSV file for the recorded runs")
    runs = read_record(sweep.record)
    names = [*sweep.metrics, *(name for rows in runs.values() for e in rows for name in e.metrics)]
    for key in {_key(run) for run in finished_runs(sweep)}:
        runs.pop(key, None)
    rows = [e for kept in runs.values() for e in kept] + list_evaluations(sweep)
    rows.sort(key=lambda e: (*_key(e), e.iteration))
    write_csv(sweep.record, to_rows(rows, tuple(dict.fromkeys(names))))
    return sweep.record
