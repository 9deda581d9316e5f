"""Scoring of prediction files, without the model that made them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from egtr.structures import EGTRError, GroundTruth, Prediction, TripletCounts

from .bootstrap import check_bootstrap
from .prediction_file import list_images, read_meta, read_predictions
from .protocols import Protocol
from .scoring import Scorer, check_top_k


@dataclass(frozen=True)
class Annotations:
    """Ground truth of a dataset.

    Attributes:
        name: of the dataset, or of its file.
        records: image id to ground truth.
        class_names, predicate_names: C and R names.
    """

    name: str
    records: Mapping[int | str, GroundTruth]
    class_names: tuple[str, ...]
    predicate_names: tuple[str, ...]

    @classmethod
    def of_dataset(cls, name: str) -> "Annotations":
        """Those of a registered dataset. Needs Detectron2.

        Raises:
            EGTRError: the dataset is unknown, or its files are not as they should be.
        """
        from egtr.data import get_metadata  # isort: skip - says how to install Detectron2 where it is missing
        from detectron2.data import DatasetCatalog

        metadata = get_metadata(name)
        return cls._of_dicts(name, DatasetCatalog.get(name), metadata.thing_classes, metadata.predicate_classes)

    @classmethod
    def of_file(cls, format: str, path: str) -> "Annotations":
        """Those of an annotation file, also as ``FILE#split``. Needs Detectron2; images are not looked at.

        Args:
            format: a key of :data:`egtr.data.datasets.FORMATS`.
            path: the file.

        Raises:
            EGTRError: the format is unknown, or the file is not as it should be.
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
) -> dict[str, dict[str, Any]]:
    """Score a prediction file; memory holds one record and a few numbers of each image.

    Args:
        path: a prediction file or folder.
        protocols: one or several, by name or own ones.
        top_k: the K of R@K, positive.
        annotations: ground truth; None: that of the file itself.
        training: for zero-shot recall and groups of predicates; None: what the file says of it.
        bootstrap: how many resamplings the intervals are made of; 0: no intervals.
        partial: accept a file whose writer was cut short, and images of ``annotations`` without a record.
        progress: show a progress bar.

    Returns:
        Protocol name to metrics, see :meth:`~egtr.evaluation.Scorer.summarize`. They do not depend on the order in
        which images were written.

    Raises:
        EGTRError: see :func:`~egtr.evaluation.read_predictions`; a K that the file's records are too short for;
            images without ground truth, or (unless ``partial``) without a record; names that differ.
    """
    check_bootstrap(bootstrap)
    meta, top_k = read_meta(path), check_top_k(top_k)
    if meta.max_rank is not None and max(top_k) > meta.max_rank:
        raise EGTRError(
            f"{path}: holds what is needed up to K = {meta.max_rank} (max_rank), but top_k asks for {max(top_k)}; "
            "ask for less, or predict again with a larger max_rank"
        )
    scorer = Scorer(protocols, top_k, training or meta.training, meta.task)
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
        if annotations is not None:
            truth = annotations.records[image_id]
        try:
            _check_counts(image_id, prediction, annotations)
            scores[image_id] = scorer.score(prediction, truth)
        except EGTRError as error:
            raise EGTRError(f"{path}: {error}") from error
    # The order decides between equal scores of different images, and which of them a resampling draws.
    return scorer.summarize([scores[image_id] for image_id in order], bootstrap)


def _check_counts(image_id: int | str, prediction: Prediction, annotations: Annotations | None) -> None:
    """Of a file that names neither classes nor predicates, every record could be of another dataset."""
    if annotations is None:
        return
    for field, found, names in (
        ("logits", prediction.logits.shape[1], annotations.class_names),
        ("relation", prediction.relation.shape[1], annotations.predicate_names),
    ):
        if found != len(names):
            raise EGTRError(
                f"image {image_id!r}: {field} has {found} columns, but {annotations.name} names {len(names)}"
            )


def _complain(image_ids: Sequence[int | str], what: str) -> None:
    if image_ids:
        some = ", ".join(map(repr, image_ids[:5])) + (", ..." if len(image_ids) > 5 else "")
        raise EGTRError(f"{what} for {len(image_ids)} images: {some}")


def _check_names(path: Any, own: Sequence[str] | None, others: Sequence[str], field: str, source: str) -> None:
    if own is None or tuple(own) == tuple(others):
        return
    if len(own) != len(others):
        raise EGTRError(f"{path}: {field} has {len(own)} names, {source} has {len(others)}")
    index = next(i for i, (a, b) in enumerate(zip(own, others, strict=True)) if a != b)
    raise EGTRError(f"{path}: {field} {index} is {own[index]!r}, but {others[index]!r} in {source}")
