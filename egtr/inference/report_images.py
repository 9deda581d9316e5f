"""Images of a report, from folders, datasets and prediction files."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from egtr.data.image import load_image
from egtr.data.sources import ImageStream, Source
from egtr.evaluation import PredictionMeta, read_meta, read_predictions
from egtr.structures import (
    Calibration,
    DataError,
    EdgeExplanation,
    EGTRError,
    GroundTruth,
    PredictedImage,
    Prediction,
    Predictor,
    SceneGraph,
)
from egtr.visualization.report.hits import compare_with_truth
from egtr.visualization.report.image import ReportImage

logger = logging.getLogger(__name__)

OnError = Callable[[EGTRError], Any]
# Explains all edges of the graph of an image, (H, W, 3) uint8, RGB.
_Explain = Callable[[np.ndarray, SceneGraph], Sequence[EdgeExplanation] | None]


def images_of_source(
    predictor: Predictor,
    source: Source | Iterable[Source] | ImageStream,
    *,
    top_k: int = 20,
    single_objects: bool = True,
    explain: bool = True,
    on_error: OnError | None = None,
) -> Iterator[ReportImage]:
    """Predict the images of any source.

    Args:
        predictor: the model.
        source: see :class:`egtr.data.sources.ImageStream`.
        top_k: number of triplets of each image, after duplicates are merged.
        single_objects: see :meth:`egtr.structures.SceneGraph.for_display`.
        explain: explain each triplet, which takes about as long as the prediction. A predictor without a method
            ``explain(image, graph, channel_order=...)`` gets a report without explanations, and a warning.
        on_error: called with the error of each image that cannot be read; the image is then skipped. None: the error
            is raised.
    """
    explain_edges = _find_explain(predictor, explain)
    for number, result in enumerate(predictor.predict(source)):
        if result.error is not None:
            _handle(result.error, on_error)
            continue
        graph = result.graph.for_display(top_k=top_k, single_objects=single_objects)
        yield ReportImage(_name(graph, number), result.image, graph, explain_edges(result.image, graph))


def images_of_dataset(
    predictor: Predictor,
    dataset_name: str,
    *,
    top_k: int = 20,
    single_objects: bool = True,
    explain: bool = True,
    on_error: OnError | None = None,
) -> Iterator[ReportImage]:
    """Predict the images of a registered dataset and compare them with their annotations.

    Args:
        dataset_name: such as "scenes_val".
        predictor, top_k, single_objects, explain, on_error: see :func:`images_of_source`.

    Raises:
        DataError: there is no such dataset, or it has other classes than the model; or see ``on_error``.
    """
    metadata, records = _load_dataset(dataset_name)
    check_names(predictor, metadata.thing_classes, metadata.predicate_classes, dataset_name)
    explain_edges = _find_explain(predictor, explain)
    shown = {"top_k": top_k, "single_objects": single_objects}
    results = predictor.predict([record["file_name"] for record in records])
    for record, result in zip(records, results, strict=True):
        try:
            yield _compare(record, result, shown, explain_edges)
        except EGTRError as error:
            _handle(error, on_error)


def images_of_predictions(
    path: str | os.PathLike[str],
    dataset_name: str | None = None,
    *,
    partial: bool = False,
    calibration: Calibration | None = None,
    top_k: int = 20,
    single_objects: bool = True,
    on_error: OnError | None = None,
) -> Iterator[ReportImage]:
    """Compare saved predictions, of any system, with annotations. No model runs, so nothing is explained.

    Args:
        path: see :func:`egtr.evaluation.read_predictions`.
        dataset_name: a registered dataset with the images and annotations; None: the annotations in the file, and
            boxes without images.
        partial: accept a file whose writer was cut short.
        calibration: of the model that made them, for probabilities; None: scores are shown.
        top_k, single_objects, on_error: see :func:`images_of_source`.

    Raises:
        PredictionError: there is no such file.
        DataError: there is no such dataset, or it lacks an image of the file; or see ``on_error``.
    """
    meta = read_meta(path)
    names = meta.class_names, meta.predicate_names
    shown = {"top_k": top_k, "single_objects": single_objects}
    records: dict[int | str, dict[str, Any]] | None = None
    if dataset_name is not None:
        metadata, dataset = _load_dataset(dataset_name)
        names = metadata.thing_classes, metadata.predicate_classes
        records = {record["image_id"]: record for record in dataset}
    for image_id, prediction, truth in read_predictions(path, partial):
        try:
            name, image = f"image {image_id}", None
            if records is not None:
                if image_id not in records:
                    raise DataError(
                        f"{path}: image {image_id!r} is not in the dataset {dataset_name}; name the right one"
                    )
                record = records[image_id]
                name, truth = Path(record["file_name"]).name, GroundTruth.from_dict(record)
                image = load_image(record["file_name"])
            found = _compare_saved(name, image, prediction, truth, names, meta, calibration, shown)
        except EGTRError as error:
            _handle(error, on_error)
            continue
        yield found


def _compare(
    record: dict[str, Any], result: PredictedImage, shown: dict[str, Any], explain_edges: _Explain
) -> ReportImage:
    if result.error is not None:
        raise result.error
    size = (record["height"], record["width"])
    if size != tuple(result.graph.image_size):
        raise DataError(
            f"{record['file_name']}: is {result.graph.image_size[0]} high and {result.graph.image_size[1]} wide, but "
            f"annotated as {size[0]} and {size[1]}; the annotations belong to another copy of it"
        )
    graph = result.graph.for_display(**shown)
    comparison = compare_with_truth(graph, result.graph.prediction, GroundTruth.from_dict(record))
    explanations = explain_edges(result.image, graph)
    return ReportImage(Path(record["file_name"]).name, result.image, graph, explanations, comparison)


def _compare_saved(
    name: str,
    image: np.ndarray | None,
    prediction: Prediction,
    truth: GroundTruth | None,
    names: tuple[Sequence[str], Sequence[str]],
    meta: PredictionMeta,
    calibration: Calibration | None,
    shown: dict[str, Any],
) -> ReportImage:
    graph = SceneGraph.from_prediction(prediction, *names)
    # Scores of given boxes are others than those of the fit.
    if calibration is not None and meta.task == "sgdet":
        graph = calibration.apply(graph)
    graph = graph.for_display(**shown)
    comparison = None if truth is None else compare_with_truth(graph, prediction, truth, meta.task)
    return ReportImage(name, image, graph, comparison=comparison)


def _find_explain(predictor: Predictor, wanted: bool) -> _Explain:
    explain = getattr(predictor, "explain", None)
    if wanted and explain is None:
        logger.warning("%s has no method explain(): the report explains no edges", type(predictor).__name__)
    if not wanted or explain is None:
        return lambda image, graph: None
    return lambda image, graph: explain(image, graph, channel_order="RGB")


def _load_dataset(name: str) -> tuple[Any, list[dict[str, Any]]]:
    # Here, because saved predictions with their own annotations are drawn without Detectron2.
    from egtr.data.catalog import get_metadata  # isort: skip - says how to install Detectron2 where it is missing
    from detectron2.data import DatasetCatalog

    return get_metadata(name), DatasetCatalog.get(name)


def check_names(
    predictor: Predictor, class_names: Sequence[str] | None, predicate_names: Sequence[str] | None, source: str
) -> None:
    """Check that a model has the names of a dataset, or of saved predictions; None: they are not known.

    Raises:
        DataError: the names of ``source`` and of the model are known and differ.
    """
    for attribute, others, kind in (
        ("class_names", class_names, "classes"),
        ("predicate_names", predicate_names, "predicates"),
    ):
        own = getattr(predictor, attribute, None)
        if None not in (own, others) and tuple(own) != tuple(others):
            raise DataError(
                f"{source}: its {kind} ({', '.join(others[:3])}, ...) are not the model's "
                f"({', '.join(own[:3])}, ...); name what belongs to this model"
            )


def _name(graph: SceneGraph, number: int) -> str:
    name = Path(graph.file_name).name if graph.file_name else f"image {number + 1}"
    return name if graph.frame is None else f"{name}, frame {graph.frame}"


def _handle(error: EGTRError, on_error: OnError | None) -> None:
    if on_error is None:
        raise error
    on_error(error)
