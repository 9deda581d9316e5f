"""Results that other projects save, as records of this one."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import EGTRError, GroundTruth, Prediction, PredictionError

from .foreign_pickles import read_pickled
from .offline import Annotations
from .prediction_format import PredictionMeta
from .prediction_writer import PredictionWriter

# Scene-Graph-Benchmark's and PySGG's eval_results.pytorch, OpenPSG's results, SGBench's JSON for boxes.
DUMPS = ("sgb", "openpsg", "sgbench", "pysgg_oi")
# These files hold no annotations.
WITHOUT_GROUND_TRUTH = ("openpsg", "sgbench")


class _Found(NamedTuple):
    """One image before the number of classes is known: ids from 0, pixels of the image."""

    image_id: int | str
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    pairs: np.ndarray
    relation: np.ndarray
    image_size: tuple[int, int]
    truth: GroundTruth | None


def convert_dump(
    kind: str,
    path: str | Path,
    target: str | Path,
    annotations: Annotations | None = None,
    names: tuple[Sequence[str], Sequence[str]] | None = None,
) -> None:
    """Write another project's results as a prediction file.

    Args:
        kind: one of :data:`DUMPS`.
        path: the file.
        target: the prediction file to write, see :class:`~egtr.evaluation.PredictionWriter`.
        annotations: the ground truth, also needed for the ids of images where the file has none.
        names: C class names and R predicate names, for files without annotations of their own names; None: those of
            ``annotations``, if there are any.

    Raises:
        PredictionError: the file cannot be read, or does not fit ``annotations``; or they are missing.
    """
    if annotations is None and kind in WITHOUT_GROUND_TRUTH:
        raise PredictionError(f"{path}: a file of {kind} holds no ground truth; name it by --dataset or --json")
    read = {"sgb": _read_box_lists, "pysgg_oi": _read_box_lists, "openpsg": _read_openpsg, "sgbench": _read_sgbench}
    try:
        images = list(read[kind](path, annotations))
        num_classes = max((1 + int(c.max()) for i in images for c in _class_ids(i) if len(c)), default=1)
        num_predicates = max((image.relation.shape[1] for image in images), default=0)
        if names is None and annotations is not None:
            names = annotations.class_names, annotations.predicate_names
        if names is not None:
            known = tuple(map(len, names))
            if num_classes > known[0] or num_predicates not in (0, known[1]):
                raise PredictionError(
                    f"{path}: has {num_classes} or more classes and {num_predicates} predicates, but there are names "
                    f"of {known[0]} and {known[1]}; name the dataset of these results"
                )
            num_classes, num_predicates = known
        with PredictionWriter(target, PredictionMeta(*(names or ()), max_rank=None)) as writer:
            for image in images:
                record = Prediction(
                    logits=np.zeros((len(image.boxes), num_classes)),
                    boxes=image.boxes,
                    pairs=image.pairs,
                    connectivity=np.ones(len(image.pairs)),
                    relation=image.relation if len(image.pairs) else np.zeros((0, num_predicates)),
                    image_size=image.image_size,
                    classes=image.classes,
                    scores=image.scores,
                )
                writer.write(image.image_id, record, image.truth)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, EGTRError) and str(path) in str(error):
            raise
        raise PredictionError(f"{path}: is not as {kind} writes it ({error})") from error


def _class_ids(image: _Found) -> tuple[np.ndarray, ...]:
    return (image.classes,) if image.truth is None else (image.classes, image.truth.classes)


def _read_box_lists(path: str | Path, annotations: Annotations | None) -> Iterator[_Found]:
    record = read_pickled(path)
    predictions, truths = record["predictions"], record["groundtruths"]
    ids = _image_ids(path, len(predictions), annotations)
    for image_id, found, truth in zip(ids, predictions, truths, strict=True):
        fields = found.extra_fields
        width, height = (int(side) for side in found.size)
        boxes, gt_boxes = _xyxy(found), _xyxy(truth)
        # The sizes are equal unless predictions were saved before they were scaled to the image.
        gt_boxes = gt_boxes * np.array([width / truth.size[0], height / truth.size[1]] * 2, dtype=np.float32)
        triplets = np.asarray(truth.extra_fields["relation_tuple"], dtype=np.int64).reshape(-1, 3)
        yield _Found(
            image_id=image_id,
            boxes=boxes,
            classes=_without_background(fields["pred_labels"]),
            scores=np.asarray(fields["pred_scores"]),
            pairs=np.asarray(fields["rel_pair_idxs"]).reshape(-1, 2),
            # The background's column comes first.
            relation=np.asarray(fields["pred_rel_scores"])[:, 1:],
            image_size=(height, width),
            truth=GroundTruth(
                gt_boxes, _without_background(truth.extra_fields["labels"]), triplets - [0, 0, 1], image_id
            ),
        )


def _read_openpsg(path: str | Path, annotations: Annotations) -> Iterator[_Found]:
    results = read_pickled(path)
    for image_id, found in zip(_image_ids(path, len(results), annotations), results, strict=True):
        boxes = np.asarray(found.refine_bboxes, dtype=np.float32).reshape(-1, 5)
        yield _Found(
            image_id=image_id,
            boxes=boxes[:, :4],
            classes=_without_background(found.labels),
            scores=boxes[:, 4],
            pairs=np.asarray(found.rel_pair_idxes).reshape(-1, 2),
            relation=np.asarray(found.rel_dists)[:, 1:],
            image_size=_size_around(boxes),
            truth=annotations.records[image_id],
        )


def _read_sgbench(path: str | Path, annotations: Annotations) -> Iterator[_Found]:
    try:
        images = json.loads(Path(path).read_text(encoding="utf-8"))["images"]
    except (OSError, ValueError) as error:
        raise PredictionError(f"{path}: cannot be read as JSON ({error})") from error
    # JSON of the annotations may have numbers where these ids are text.
    known = {str(image_id): image_id for image_id in annotations.records}
    for image in images:
        if image.get("bboxes") is None:
            raise PredictionError(f"{path}: image {image['id']!r} has masks and no bboxes; only boxes can be scored")
        if str(image["id"]) not in known:
            raise PredictionError(f"{path}: image {image['id']!r} is not in {annotations.name}")
        image_id = known[str(image["id"])]
        boxes = np.asarray(image["bboxes"], dtype=np.float32).reshape(-1, 4)
        pairs, relation = ranked_rows(image["triplets"], len(annotations.predicate_names))
        yield _Found(
            image_id=image_id,
            boxes=boxes,
            classes=np.asarray(image["categories"], dtype=np.int64),
            scores=np.ones(len(boxes)),
            pairs=pairs,
            relation=relation,
            image_size=_size_around(boxes),
            truth=annotations.records[image_id],
        )


def ranked_rows(triplets: Sequence[Sequence[int]], num_predicates: int) -> tuple[np.ndarray, np.ndarray]:
    """Make rows of a record out of a ranked list without scores: each row has one predicate, and falling scores.

    Args:
        triplets: M rows (subject, object, predicate), the best first.
        num_predicates: R.

    Returns:
        ``pairs`` (M, 2) int64 and ``relation`` (M, R) float32, 1 for the first triplet, then less in equal steps. A
        protocol whose ``entries`` is "all" or "triplet" ranks them in their order. Without graph constraint they are
        ranked in the same order, since there are no other predicates.
    """
    rows = np.asarray(triplets, dtype=np.int64).reshape(-1, 3)
    if len(rows) and not 0 <= rows[:, 2].min() <= rows[:, 2].max() < num_predicates:
        raise PredictionError(f"a triplet has a predicate outside 0..{num_predicates - 1}")
    relation = np.zeros((len(rows), num_predicates), dtype=np.float32)
    relation[np.arange(len(rows)), rows[:, 2]] = 1 - np.arange(len(rows)) / max(len(rows), 1)
    return rows[:, :2], relation


def _image_ids(path: str | Path, count: int, annotations: Annotations | None) -> Sequence[int | str]:
    if annotations is None:
        return range(count)
    if len(annotations.records) != count:
        raise PredictionError(
            f"{path}: has {count} images, {annotations.name} {len(annotations.records)}; images have no id in this "
            "file, so both need the same ones in the same order"
        )
    return list(annotations.records)


def _xyxy(boxes: Any) -> np.ndarray:
    """Return the (N, 4) boxes of a BoxList."""
    found = np.array(boxes.bbox, dtype=np.float32).reshape(-1, 4)
    if boxes.mode == "xywh":
        # Its boxes are one pixel wider than the distance of their corners.
        found[:, 2:] += found[:, :2] - 1
    elif boxes.mode != "xyxy":
        raise PredictionError(f"a BoxList has mode {boxes.mode!r}, expected xyxy or xywh")
    return found


def _without_background(labels: Any) -> np.ndarray:
    classes = np.asarray(labels, dtype=np.int64).reshape(-1) - 1
    if len(classes) and classes.min() < 0:
        raise PredictionError("an object has label 0, which is the background")
    return classes


def _size_around(boxes: np.ndarray) -> tuple[int, int]:
    # These files do not say how large images are, and no metric asks.
    return tuple(int(np.ceil(max(boxes[:, side].max(initial=1), 1))) for side in (3, 2))
