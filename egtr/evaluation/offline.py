"""Scoring of prediction files, without the model that made them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from egtr.structures import EGTRError, GroundTruth, PredictionError, TripletCounts

from .bootstrap import check_bootstrap
from .conventions import Protocol
from .prediction_file import list_images, read_meta, read_predictions
from .record_checks import check_columns
from .scoring import Scorer, check_top_k


@dataclass(frozen=True)
class Annotations:
    """Ground truth of a dataset.

    Attributes:
        name: the dataset, or its file.
        records: image id to ground truth.
        class_names, predicate_names: C and R names.
        exhaustive: they hold every relation in the images.
    """

    name: str
    records: Mapping[int | str, GroundTruth]
    class_names: tuple[str, ...]
    predicate_names: tuple[str, ...]
    exhaustive: bool = False

    @classmethod
    def of_dataset(cls, name: str) -> "Annotations":
        """Read the annotations of a registered dataset. Needs Detectron2.

        Raises:
            ConfigurationError: the dataset is unknown.
            DataError: its files cannot be read.
        """
        from egtr.data import get_metadata  # isort: skip - says how to install Detectron2 where it is missing
        from detectron2.data import DatasetCatalog

        metadata = get_metadata(name)
        found = cls._of_dicts(name, DatasetCatalog.get(name), metadata.thing_classes, metadata.predicate_classes)
        return replace(found, exhaustive=metadata.get("exhaustive", False) is True)

    @classmethod
    def of_file(cls, format: str, path: str) -> "Annotations":
        """Read an annotation file, also given as ``FILE#split``. Needs Detectron2, but no images.

        Args:
            format: a key of :data:`egtr.data.datasets.FORMATS`.
            path: the file.

        Raises:
            ConfigurationError: the format is unknown.
            DataError: the file cannot be read.
        """
        from egtr.data.datasets import get_format, to_dataset_dicts

        read = get_format(format).read(path, "")
        return cls._of_dicts(path, to_dataset_dicts(read), read.thing_classes, read.predicate_classes)

    @classmethod
    def _of_dicts(cls, name: str, dicts: Iterable[dict], classes: Sequence[str], predicates: Sequence[str]):
        records = map(GroundTruth.from_dict, dicts)
        return cls(name, {record.image_id: record for record in records}, tuple(classes), tuple(predicates))


def score_predictions(
    path: str | Path,
    protocols: str | Protocol | Sequence[str | Protocol] = "reference",
    top_k: Sequence[int] = (20, 50, 100),
    *,
    annotations: Annotations | None = None,
    training: TripletCounts | None = None,
    bootstrap: int = 0,
    partial: bool = False,
    progress: bool = False,
    zero_shot: TripletCounts | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    precision_at: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Score a prediction file. Memory holds one record at a time, and a few numbers of each image.

    Args:
        path: a prediction file or folder.
        protocols: one or several, by name or your own, see :func:`~egtr.evaluation.get_protocols`.
        top_k: the K of R@K, positive.
        annotations: the ground truth; None: the ground truth in the file.
        training: triplets of the training set, for zero-shot recall and groups of predicates; None: the file's.
        bootstrap: number of resamplings for the intervals; 0: no intervals.
        partial: accept a file whose writer was cut short, and images of ``annotations`` without a record.
        progress: show a progress bar.
        zero_shot, groups, precision_at: see :class:`~egtr.evaluation.Scorer`.

    Returns:
        Protocol name to metrics, see :meth:`~egtr.evaluation.Scorer.summarize`. They do not depend on the order in
        which images were written.

    Raises:
        PredictionError: see :func:`~egtr.evaluation.read_predictions`; the records are too short for a K; images
            have no ground truth, or (unless ``partial``) no record; or names differ.
        ConfigurationError: an unknown protocol; bad ``top_k`` or ``bootstrap``.
    """
    check_bootstrap(bootstrap)
    meta, top_k = read_meta(path), check_top_k(top_k)
    if meta.max_rank is not None and max(top_k) > meta.max_rank:
        raise PredictionError(
            f"{path}: holds what is needed up to K = {meta.max_rank} (max_rank), but top_k asks for {max(top_k)}; "
            "ask for less, or predict again with a larger max_rank"
        )
    exhaustive = meta.exhaustive if annotations is None else annotations.exhaustive
    scorer = Scorer(
        *(protocols, top_k, training or meta.training, meta.task, zero_shot, meta.max_rank is None),
        groups=groups,
        exhaustive=exhaustive,
        precision_at=precision_at,
    )
    image_ids = list_images(path, partial)
    if annotations is None:
        _complain([i for i, annotated in image_ids.items() if not annotated], f"{path}: no ground truth in the file")
        order: Iterable[int | str] = sorted(image_ids, key=lambda i: (isinstance(i, str), i))
    else:
        _check_names(path, meta.class_names, annotations.class_names, "class_names", annotations.name)
        _check_names(path, meta.predicate_names, annotations.predicate_names, "predicate_names", annotations.name)
        unknown = [i for i in image_ids if i not in annotations.records]
        _complain(unknown, f"{path}: no ground truth in {annotations.name}")
        if not partial:
            unseen = [i for i in annotations.records if i not in image_ids]
            _complain(unseen, f"{path}: no prediction (--partial scores the others)")
        order = [i for i in annotations.records if i in image_ids]
    scores = {}
    records = tqdm(read_predictions(path, partial), "scoring", len(image_ids), unit="image", disable=not progress)
    for image_id, prediction, truth in records:
        try:
            if annotations is not None:
                truth = annotations.records[image_id]
                # Without names in the file, its records could be of another dataset.
                numbers = len(annotations.class_names), len(annotations.predicate_names)
                check_columns(prediction, *numbers, annotations.name, f"image {image_id!r}: ")
            scores[image_id] = scorer.score(prediction, truth)
        except EGTRError as error:
            raise PredictionError(f"{path}: {error}") from error
    # The order decides between equal scores of different images, and which of them a resampling draws.
    return scorer.summarize([scores[image_id] for image_id in order], bootstrap)


def _complain(image_ids: Sequence[int | str], what: str) -> None:
    if image_ids:
        some = ", ".join(map(repr, image_ids[:5])) + (", ..." if len(image_ids) > 5 else "")
        raise PredictionError(f"{what} for {len(image_ids)} images: {some}")


def _check_names(path: Any, own: Sequence[str] | None, others: Sequence[str], field: str, source: str) -> None:
    if own is None or tuple(own) == tuple(others):
        return
    if len(own) != len(others):
        raise PredictionError(f"{path}: {field} has {len(own)} names, {source} has {len(others)}")
    index = next(i for i, (a, b) in enumerate(zip(own, others, strict=True)) if a != b)
    raise PredictionError(f"{path}: {field} {index} is {own[index]!r}, but {others[index]!r} in {source}")
