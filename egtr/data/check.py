"""Checks of a dataset that find its errors before a training run does."""

import json
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from egtr.structures import ConfigurationError
from egtr.structures.files import write_text

from .annotated_image import BrokenImageError, read_annotated_image
from .datasets._survey import survey
from .datasets.annotations import ERROR, WARNING, ImageAnnotations, Problem, SceneGraphAnnotations

# Rows of a printed histogram; the report has all rows.
_SHOWN_NAMES = 10


@dataclass
class Histogram:
    """How often each of K names (classes or predicates) is annotated.

    Attributes:
        names: K names.
        counts: (K,) int64, annotations.
        images: (K,) int64, images that have at least one.
    """

    names: list[str]
    counts: np.ndarray = field(init=False)
    images: np.ndarray = field(init=False)

    def __post_init__(self):
        self.counts = np.zeros(len(self.names), dtype=np.int64)
        self.images = np.zeros(len(self.names), dtype=np.int64)

    def add(self, ids: np.ndarray) -> None:
        """Count one image's ids, each in 0..K-1."""
        counts = np.bincount(ids, minlength=len(self.names))
        self.counts += counts
        self.images += counts > 0

    def to_list(self) -> list[dict[str, Any]]:
        """Return a dict for each name, in the order of ids."""
        rows = zip(self.names, self.counts.tolist(), self.images.tolist(), strict=True)
        return [{"name": name, "count": count, "images": images} for name, count, images in rows]


@dataclass
class DatasetReport:
    """The findings of :func:`check_dataset`.

    Attributes:
        source: the annotation file.
        image_root: folder of the images.
        num_images: images that the file lists.
        classes: number of objects of each class that training reads. It reads no crowds, no boxes without area
            inside the image and no objects of an unknown class.
        predicates: number of relations of each predicate between such objects.
        problems: all problems, in the order of the file.
        images_read: whether the images were opened.
    """

    source: str
    image_root: str
    num_images: int
    classes: Histogram
    predicates: Histogram
    problems: list[Problem]
    images_read: bool

    @property
    def num_errors(self) -> int:
        """The number of problems that would break training, or make it learn something wrong."""
        return sum(problem.severity == ERROR for problem in self.problems)

    def by_kind(self) -> dict[tuple[str, str], list[Problem]]:
        """Group problems by (severity, kind): errors first, then the most frequent."""
        groups = defaultdict(list)
        for problem in self.problems:
            groups[problem.severity, problem.kind].append(problem)
        return dict(sorted(groups.items(), key=lambda item: (item[0][0] != ERROR, -len(item[1]), item[0][1])))

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain values, for JSON."""
        return {
            "source": self.source,
            "image_root": self.image_root,
            "images_read": self.images_read,
            "images": self.num_images,
            "objects": int(self.classes.counts.sum()),
            "relations": int(self.predicates.counts.sum()),
            "errors": self.num_errors,
            "warnings": len(self.problems) - self.num_errors,
            "problems": [
                {
                    "kind": kind,
                    "severity": severity,
                    "count": len(problems),
                    "image_ids": _image_ids(problems),
                    "messages": [problem.message for problem in problems],
                }
                for (severity, kind), problems in self.by_kind().items()
            ],
            "classes": self.classes.to_list(),
            "predicates": self.predicates.to_list(),
        }


def check_dataset(
    annotations: SceneGraphAnnotations, *, read_images: bool = True, workers: int | None = None
) -> DatasetReport:
    """Look through the annotations and decode every image to its end, as training would.

    Args:
        annotations: the annotations of one split.
        read_images: False checks only the annotations, which is 100x faster.
        workers: threads that decode images; None: one for each core.

    Raises:
        ConfigurationError: ``workers`` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ConfigurationError(f"{workers} threads cannot read images; ask for at least 1")
    problems = [*annotations.find_problems(), *survey(annotations)]
    if read_images:
        problems += _find_broken_images(annotations, workers)
    classes, predicates = Histogram(annotations.thing_classes), Histogram(annotations.predicate_classes)
    for image in annotations.images:
        _count(image, classes, predicates)
    for what, histogram in (("class", classes), ("predicate", predicates)):
        for k in np.flatnonzero(histogram.counts == 0):
            message = f"{annotations.source}: {what} {histogram.names[k]!r} occurs nowhere; the model cannot learn it"
            problems.append(Problem(f"unused-{what}", message, severity=WARNING))
    if not classes.counts.any():
        message = f"{annotations.source}: no image has a usable object, so there is nothing to train on"
        problems.append(Problem("nothing-to-train-on", message))
    return DatasetReport(
        source=annotations.source,
        image_root=annotations.image_root,
        num_images=len(annotations.images),
        classes=classes,
        predicates=predicates,
        problems=problems,
        images_read=read_images,
    )


def print_report(report: DatasetReport, console: Console | None = None, examples: int = 3) -> None:
    """Print the problems with the first few of each kind, and the most and least frequent names."""
    console = console or Console()
    relations = report.predicates.counts.sum()
    console.print(
        f"{report.source}: {report.num_images:,} images, {report.classes.counts.sum():,} objects of "
        f"{len(report.classes.names)} classes, {relations:,} relations of {len(report.predicates.names)} predicates",
        **_PLAIN,
    )
    for title, histogram in (("classes", report.classes), ("predicates", report.predicates)):
        if histogram.names:
            console.print(_histogram_table(title, histogram))
    groups = report.by_kind()
    if groups:
        table = Table("problem", "severity")
        table.add_column("count", justify="right")
        table.add_column("images", justify="right")
        for (severity, kind), problems in groups.items():
            style = "red" if severity == ERROR else "yellow"
            images = f"{len(_image_ids(problems)):,}" if any(p.image_id is not None for p in problems) else ""
            table.add_row(kind, severity, f"{len(problems):,}", images, style=style)
        console.print(table)
    for (severity, kind), problems in groups.items():
        console.print(f"{severity}: {kind}", style="bold", **_PLAIN)
        for problem in problems[:examples]:
            console.print(f"  {problem.message}", **_PLAIN)
        if len(problems) > examples:
            console.print(f"  ... and {len(problems) - examples:,} more", **_PLAIN)
    console.print(_verdict(report), **_PLAIN)


def write_report(path: str | os.PathLike[str], report: DatasetReport) -> None:
    """Write :meth:`DatasetReport.to_dict` as JSON.

    Raises:
        WriteError: the file cannot be written.
    """
    write_text(path, json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n")


# Messages hold file names, which are neither markup nor text to be wrapped.
_PLAIN = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}


def _verdict(report: DatasetReport) -> str:
    errors = [problem for problem in report.problems if problem.severity == ERROR]
    verdict = "training on it would fail" if errors else "nothing that would break training"
    if errors and all(problem.image_id is not None for problem in errors):
        verdict += ", unless DATALOADER.SKIP_BROKEN leaves these images out"
    unread = "" if report.images_read else " (images were not read)"
    numbers = [(len(errors), "error"), (len(report.problems) - len(errors), "warning")]
    counts = ", ".join(f"{number:,} {word}{'' if number == 1 else 's'}" for number, word in numbers)
    return f"{counts}: {verdict}{unread}"


def _histogram_table(title: str, histogram: Histogram) -> Table:
    """Show the most frequent names and, if not all fit, the least frequent ones."""
    order = np.argsort(-histogram.counts, kind="stable")
    head, tail = order, order[:0]
    if len(order) > _SHOWN_NAMES:
        head, tail = order[: _SHOWN_NAMES - 3], order[-3:]
    table = Table(title)
    table.add_column("annotations", justify="right")
    table.add_column("images", justify="right")
    for k in [*head, None, *tail] if len(tail) else head:
        if k is None:
            table.add_row(f"... {len(order) - _SHOWN_NAMES} more", "", "")
            continue
        # Text, since names are no markup either.
        table.add_row(Text(histogram.names[k]), f"{histogram.counts[k]:,}", f"{histogram.images[k]:,}")
    return table


def _count(image: ImageAnnotations, classes: Histogram, predicates: Histogram) -> None:
    usable = image.usable() & (image.classes >= 0) & (image.classes < len(classes.names))
    classes.add(image.classes[usable])
    subjects, objects, predicate_ids = image.relations.T
    sound = (image.relations >= 0).all(axis=1) & (np.maximum(subjects, objects) < len(usable))
    sound &= predicate_ids < len(predicates.names)
    relations = image.relations[sound]
    predicates.add(relations[usable[relations[:, :2]].all(axis=1), 2])


def _find_broken_images(annotations: SceneGraphAnnotations, workers: int | None) -> list[Problem]:
    def check(image: ImageAnnotations) -> Problem | None:
        path = os.path.join(annotations.image_root, image.file_name)
        try:
            read_annotated_image({"file_name": path, "height": image.height, "width": image.width})
        except BrokenImageError as error:
            message = f"{annotations.source}: image id {image.image_id}: {error}"
            return Problem(error.kind, message, image.image_id)
        return None

    # Threads suffice, because Pillow decodes without the interpreter's lock. Its warnings concern readable images.
    with ThreadPool(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tqdm(
            pool.imap(check, annotations.images, chunksize=4),
            total=len(annotations.images),
            desc="reading images",
            unit="image",
        )
        return [problem for problem in found if problem is not None]


def _image_ids(problems: list[Problem]) -> list[int | str]:
    return list(dict.fromkeys(problem.image_id for problem in problems if problem.image_id is not None))
