"""The tables, JSON and diagram that say how well probabilities agree with the annotations of a test split."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from egtr.structures import Calibration

from .displayed import Sample
from .reliability import Agreement, calibration_error, label_coverage
from .report import plain, write_json

logger = logging.getLogger(__name__)

SPARSE_NOTE = (
    "The annotations are not known to hold every relation (exhaustive: true in the metadata of the dataset). A "
    "relation that is right but not annotated counts as wrong: the numbers are chances of being annotated, not of "
    "being true."
)
ASKED = (0.7, 0.8, 0.9)
COVERAGE = 0.9


def measure(samples: Sequence[Sample], calibration: Calibration | None, num_bootstrap: int = 0) -> dict[str, Any]:
    """Measure how scores, and with a calibration probabilities, agree with annotations.

    Args:
        samples: one for each image.
        calibration: of the model; None: only its scores are measured.
        num_bootstrap: resamplings of images for 95% intervals; 0: no intervals.

    Returns:
        "relations" and "objects", each with "score" and (with a calibration) "probability": "ECE" in 10 bins of equal
        mass, "ECE of drawn labels", that of labels drawn from the stated numbers, "ECE interval", and "bins", see
        :meth:`~egtr.evaluation.reliability.Agreement.bins`. With a
        calibration also "precision": asked share to the share that :meth:`~egtr.structures.SceneGraph.filter` gives,
        "kept" and "interval"; and "coverage" of sets with asked coverage 0.9. Numbers are NaN or null if there is
        nothing to measure.
    """
    result: dict[str, Any] = {"num_images": len(samples)}
    for kind, collect in (("relations", Agreement.of_triplets), ("objects", Agreement.of_objects)):
        stated = {"score": collect(samples, None)}
        if calibration is not None:
            stated["probability"] = collect(samples, calibration)
        result[kind] = {"number": len(stated["score"].right)}
        result[kind] |= {name: _errors(agreement, num_bootstrap) for name, agreement in stated.items()}
    if calibration is None:
        return result
    found = Agreement.of_triplets(samples, None)
    precisions = calibration.precision(found.probabilities)
    result["precision"] = {}
    for asked in ASKED:
        kept = precisions >= asked - 1e-6
        right, images = found.right[kept].astype(np.float64), found.images[kept]
        entry = {"precision": float(right.mean()) if len(right) else float("nan"), "kept": int(kept.sum())}
        if num_bootstrap and len(right):
            entry["interval"] = bootstrap(right, images, np.mean, num_bootstrap)
        result["precision"][f"{asked:g}"] = entry
    if any(len(sample.classes) for sample in samples):
        result["coverage"] = label_coverage(samples, calibration, COVERAGE)
    return result


def _errors(agreement: Agreement, num_bootstrap: int) -> dict[str, Any]:
    error, drawn = agreement.errors()
    entry: dict[str, Any] = {"ECE": error, "ECE of drawn labels": drawn, "bins": agreement.bins()}
    if num_bootstrap and len(agreement.right):
        rows = np.column_stack([agreement.probabilities, agreement.right]).astype(np.float64)
        interval = bootstrap(rows, agreement.images, lambda rows: calibration_error(*rows.T), num_bootstrap)
        entry["ECE interval"] = interval
    return entry


def bootstrap(
    values: np.ndarray, images: np.ndarray, statistic: Callable[[np.ndarray], float], samples: int = 1000
) -> tuple[float, float]:
    """Compute a 95% interval of a statistic, by percentile bootstrap over images.

    Args:
        values: (S, ...) one row for each triplet.
        images: (S,) int, ascending, the image of each.
        statistic: function of some rows that returns a number.
        samples: number of resamplings.
    """
    rng = np.random.default_rng(0)
    groups = np.split(np.arange(len(images)), np.flatnonzero(np.diff(images)) + 1)
    found = [
        statistic(values[np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])])
        for _ in range(samples)
    ]
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


def to_text(measured: dict[str, Any], exhaustive: bool) -> str:
    """Show what :func:`measure` returns as tables, with a note where annotations are not exhaustive."""
    rows = [
        [kind, measured[kind]["number"], name, entry["ECE"], entry["ECE of drawn labels"], _interval(entry, "ECE ")]
        for kind in ("relations", "objects")
        for name, entry in measured[kind].items()
        if name != "number"
    ]
    headers = ["displayed", "number", "stated by", "ECE", "of drawn labels", "ECE, 95%"]
    parts = [tabulate(rows, headers, "pipe", floatfmt=".4f")]
    if "precision" in measured:
        rows = [
            [asked, 100 * entry["precision"], _interval(entry, "", 100), entry["kept"]]
            for asked, entry in measured["precision"].items()
        ]
        headers = ["asked precision", "found, percent", "95%", "relations kept"]
        parts.append(tabulate(rows, headers, "pipe", floatfmt=".1f"))
    if "coverage" in measured:
        found = measured["coverage"]
        rows = [[kind, 100 * found[kind], found[f"{kind}_size"]] for kind in ("classes", "predicates")]
        headers = [f"sets of coverage {COVERAGE:g}", "hold the right label, percent", "labels in a set"]
        parts.append(tabulate(rows, headers, "pipe", floatfmt=".2f"))
    if "splits" in measured:
        number, found = measured["splits"]["number"], measured["splits"]
        rows = [
            [kind, *(100 * value for value in found[kind]), found[f"{kind}_size"][0]]
            for kind in ("classes", "predicates")
        ]
        headers = [
            f"{number} random halves",
            "hold the right label, percent",
            "standard deviation",
            "labels in a set",
        ]
        parts.append(tabulate(rows, headers, "pipe", floatfmt=".2f"))
    return "\n\n".join([*parts, *([] if exhaustive else [SPARSE_NOTE])])


def _interval(entry: dict[str, Any], prefix: str, factor: float = 1.0) -> str:
    interval = entry.get(f"{prefix}interval")
    digits = 1 if factor > 1 else 4
    return "" if interval is None else " to ".join(f"{factor * bound:.{digits}f}" for bound in interval)


def record(measured: dict[str, Any], exhaustive: bool) -> dict[str, Any]:
    """Make JSON of what :func:`measure` returns, with a note where annotations are not exhaustive; NaN is None."""
    return plain({"exhaustive": exhaustive, **measured} | ({} if exhaustive else {"note": SPARSE_NOTE}))


def write(
    folder: str | Path,
    stem: str,
    samples: Sequence[Sample],
    calibration: Calibration | None,
    measured: dict[str, Any],
    exhaustive: bool,
) -> list[Path]:
    """Write ``stem.json``, what :func:`measure` returns, and the diagram ``stem.png``; returns their paths."""
    # Here, because matplotlib is slow to import.
    from .reliability_plot import plot_reliability

    folder = Path(folder)
    paths = [folder / f"{stem}.json", folder / f"{stem}.png"]
    write_json(paths[0], record(measured, exhaustive))
    panels = {}
    for title, collect in (
        ("Displayed relations", Agreement.of_triplets),
        ("Displayed objects", Agreement.of_objects),
    ):
        panels[title] = {"score": collect(samples, None)}
        if calibration is not None:
            panels[title]["calibrated"] = collect(samples, calibration)
    plot_reliability(paths[1], panels, "" if exhaustive else SPARSE_NOTE)
    return paths


@dataclass(frozen=True)
class ReliabilityReport:
    """Says how certain displayed graphs are, and how right, at the end of an evaluation.

    Attributes:
        calibration: of the model; None: only its scores are measured.
        exhaustive: the annotations hold every relation.
    """

    calibration: Calibration | None
    exhaustive: bool

    def report(self, samples: Sequence[Sample], folder: str | None, stem: str) -> None:
        """Log the tables, and write the files if there is a folder; see :func:`measure` and :func:`write`."""
        measured = measure(samples, self.calibration)
        text = to_text(measured, self.exhaustive)
        logger.info("Stated certainty of displayed graphs against annotations:\n%s", text)
        if folder:
            paths = write(folder, stem, samples, self.calibration, measured, self.exhaustive)
            logger.info("Reliability is in %s", ", ".join(map(str, paths)))
