"""Images of a report out of folders, datasets and prediction files."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from egtr.data.image import load_image
from egtr.data.sources import ImageStream, Source
from egtr.evaluation import read_meta, read_predictions
from egtr.structures import EGTRError, GroundTruth, PredictedImage, Predictor, SceneGraph
from egtr.visualization.report.hits import compare_with_truth
from egtr.visualization.report.image import ReportImage

OnError = Callable[[EGTRError], Any]


def images_of_source(
    predictor: Predictor,
    source: Source | Iterable[Source] | ImageStream,
    *,
    top_k: int = 20,
    explain: bool = True,
    on_error: OnError | None = None,
) -> Iterator[ReportImage]:
    """Whatever holds images, predicted.

    Args:
        predictor: the model.
        source: see :class:`egtr.data.sources.ImageStream`.
        top_k: triplets of each image, after duplicates are merged.
        explain: with an explanation of each triplet, which takes about as long again as the prediction.
        on_error: called with the error of each image that cannot be read, which is then left out; None: raised.
    """
    for number, result in enumerate(predictor.predict(source)):
        if result.error is not None:
            _report(result.error, on_error)
            continue
        graph = result.graph.for_display(top_k=top_k)
        yield ReportImage(
            _name(graph, number), result.image, graph, _explain(predictor, result.image, graph, explain)
        )


def images_of_dataset(
    predictor: Predictor,
    dataset_name: str,
    *,
    top_k: int = 20,
    explain: bool = True,
    on_error: OnError | None = None,
) -> Iterator[ReportImage]:
    """The images of a registered dataset, predicted and held against their annotations.

    Args:
        dataset_name: such as "scenes_val".
        predictor, top_k, explain, on_error: see :func:`images_of_source`.

    Raises:
        EGTRError: there is no such dataset; the model was made for other classes; or see ``on_error``.
    """
    metadata, records = _load_dataset(dataset_name)
    _check_names(predictor, metadata, dataset_name)
    results = predictor.predict([record["file_name"] for record in records])
    for record, result in zip(records, results, strict=True):
        try:
            yield _compared(predictor, record, result, top_k, explain)
        except EGTRError as error:
            _report(error, on_error)


def images_of_predictions(
    path: str | os.PathLike[str],
    dataset_name: str | None = None,
    *,
    partial: bool = False,
    top_k: int = 20,
    on_error: OnError | None = None,
) -> Iterator[ReportImage]:
    """Saved predictions, of any system, held against annotations. No model is run, so nothing is explained.

    Args:
        path: see :func:`egtr.evaluation.read_predictions`.
        dataset_name: a registered dataset with the images and annotations; None: the annotations in the file,
            and boxes without images.
        partial: accept a file whose writer was cut short.
        top_k, on_error: see :func:`images_of_source`.

    Raises:
        EGTRError: there is no such file or dataset; an image is in one but not in the other; or see ``on_error``.
    """
    meta = read_meta(path)
    class_names, predicate_names = meta.class_names, meta.predicate_names
    records: dict[int | str, dict[str, Any]] = {}
    if dataset_name is not None:
        metadata, dataset = _load_dataset(dataset_name)
        class_names, predicate_names = metadata.thing_classes, metadata.predicate_classes
        records = {record["image_id"]: record for record in dataset}
    for image_id, prediction, truth in read_predictions(path, partial):
        try:
            name, image = f"image {image_id}", None
            if dataset_name is not None:
                if image_id not in records:
                    raise EGTRError(
                        f"{path}: image {image_id!r} is not in the dataset {dataset_name}; name the right one"
                    )
                record = records[image_id]
                name, truth = Path(record["file_name"]).name, GroundTruth.from_dict(record)
                image = load_image(record["file_name"])
            whole = SceneGraph.from_prediction(prediction, class_names, predicate_names)
            graph = whole.for_display(top_k=top_k)
            comparison = None if truth is None else compare_with_truth(graph, prediction, truth, meta.task)
        except EGTRError as error:
            _report(error, on_error)
            continue
        yield ReportImage(name, image, graph, comparison=comparison)


def _compared(
    predictor: Predictor, record: dict[str, Any], result: PredictedImage, top_k: int, explain: bool
) -> ReportImage:
    if result.error is not None:
        raise result.error
    size = (record["height"], record["width"])
    if size != tuple(result.graph.image_size):
        raise EGTRError(
            f"{record['file_name']}: is {result.graph.image_size[0]} high and {result.graph.image_size[1]} wide, but "
            f"annotated as {size[0]} and {size[1]}; the annotations belong to another copy of it"
        )
    graph = result.graph.for_display(top_k=top_k)
    comparison = compare_with_truth(graph, result.graph.prediction, GroundTruth.from_dict(record))
    explanations = _explain(predictor, result.image, graph, explain)
    return ReportImage(Path(record["file_name"]).name, result.image, graph, explanations, comparison)


def _explain(predictor: Predictor, image, graph: SceneGraph, explain: bool):
    if not explain:
        return None
    # Here, because it imports torch, and other models than EGTR's are drawn without.
    from .explanation import explain_graph

    return explain_graph(predictor, image, graph, channel_order="RGB")


def _load_dataset(name: str) -> tuple[Any, list[dict[str, Any]]]:
    # Here, because saved predictions with annotations of their own are drawn without Detectron2.
    from egtr.data.catalog import get_metadata  # isort: skip - says how to install Detectron2 where it is missing
    from detectron2.data import DatasetCatalog

    return get_metadata(name), DatasetCatalog.get(name)


def _check_names(predictor: Predictor, metadata, dataset_name: str) -> None:
    for own, others, kind in (
        (predictor.class_names, metadata.thing_classes, "classes"),
        (predictor.predicate_names, metadata.predicate_classes, "predicates"),
    ):
        if own is not None and tuple(own) != tuple(others):
            raise EGTRError(
                f"{dataset_name}: its {kind} ({', '.join(others[:3])}, ...) are not the model's "
                f"({', '.join(own[:3])}, ...); name the dataset that the model was trained for"
            )


def _name(graph: SceneGraph, number: int) -> str:
    name = Path(graph.file_name).name if graph.file_name else f"image {number + 1}"
    return name if graph.frame is None else f"{name}, frame {graph.frame}"


def _report(error: EGTRError, on_error: OnError | None) -> None:
    if on_error is None:
        raise error
    on_error(error)
