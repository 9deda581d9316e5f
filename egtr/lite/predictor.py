"""The model of an exported file, ready for images."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from egtr.data.resizing import detr_resize_shape
from egtr.data.sources import ImageStream, Source, SourceImage, read_ahead
from egtr.structures import (
    Calibration,
    ConfigurationError,
    EGTRError,
    PredictedImage,
    Prediction,
    SceneGraph,
    WeightsError,
)
from egtr.structures.doubts import Doubter
from egtr.structures.model_info import METADATA_KEY, ModelInfo
from egtr.structures.predicted_image import graphs_of
from egtr.structures.prediction import all_pairs
from egtr.structures.scene_graph import OBJECT_THRESHOLD

from .session import open_session

logger = logging.getLogger(__name__)

# Arguments of egtr.predict about given boxes.
GIVEN = ("boxes", "classes", "scores", "refine_boxes", "with_found")
# Keys of the metadata that say how to rank, and which objects a drawing keeps without a relation.
OBJECT_SCORE, TRIPLETS, THRESHOLD = "object_score", "triplets_per_image", "object_threshold"


class LitePredictor:
    """A model that :mod:`egtr.export` wrote. Its graphs are those of the model in PyTorch.

    ::

        model = LitePredictor("scenes.onnx")
        for result in model.predict("photos/"):
            print(result.graph)

    Args:
        path: the file.
        providers: execution providers of onnxruntime in order of preference, such as ("CUDAExecutionProvider",
            "CPUExecutionProvider"), or devices of OpenVINO, such as ("GPU", "CPU"); a string is one
            of them; None: the CPU.
        threads: threads of one operation; 0: as many as there are cores.
        runtime: "onnxruntime" or "openvino"; None: OpenVINO for an ``.xml`` file, and where only it is installed,
            else onnxruntime.
        precision: precision of OpenVINO's calculation: "float32", "bfloat16" or "float16". Parts that are int8 in the
            file stay so.
        max_pixels: largest image, see :func:`egtr.data.image.load_image`.

    Attributes:
        info: the record of the model.
        calibration: decides about the probabilities of graphs; None if the record has none for these scores.
        object_score: how logits become object scores, see :meth:`egtr.structures.Prediction.object_scores`.
        triplets_per_image: number of triplets of a graph.
        object_threshold: see :class:`egtr.structures.SceneGraph`.

    Raises:
        ConfigurationError: the runtime is not installed, or lacks a provider or the precision; ``threads`` is
            negative.
        WeightsError: the file is missing, broken, or was not exported by this library.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        providers: str | Sequence[str] | None = None,
        *,
        threads: int = 0,
        runtime: str | None = None,
        precision: str = "float32",
        max_pixels: int | None = None,
    ):
        self.path, self.max_pixels = os.fspath(path), max_pixels
        self._session = open_session(self.path, providers, threads, runtime, precision)
        metadata = self._session.metadata
        if METADATA_KEY not in metadata:
            raise WeightsError(
                f"{self.path}: lacks the metadata {METADATA_KEY}, so its names and image sizes are unknown; export "
                "the model with egtr export"
            )
        self.info = ModelInfo.from_json(metadata[METADATA_KEY], f"{self.path}: metadata {METADATA_KEY}")
        self.class_names, self.predicate_names = self.info.class_names, self.info.predicate_names
        self._doubter = Doubter(self.info, logger)
        self.object_score = metadata.get(OBJECT_SCORE, "auto")
        self.triplets_per_image = int(metadata.get(TRIPLETS, 100))
        self.object_threshold = float(metadata.get(THRESHOLD, OBJECT_THRESHOLD))
        self.calibration = Calibration.of(self.info, self.object_score)

    def __call__(self, source: Source, channel_order: str | None = None, **given: Any) -> SceneGraph:
        """Predict the scene graph of one image.

        Args:
            source, channel_order: see :func:`egtr.data.image.load_image`.
            given: refused, see :meth:`predict`.

        Raises:
            DataError: the image cannot be read.
            ConfigurationError: boxes are given.
        """
        (result,) = self.predict([source], channel_order, **given)
        if result.error is not None:
            raise result.error
        return result.graph

    def predict(
        self,
        source: Source | Iterable[Source] | ImageStream,
        channel_order: str | None = None,
        *,
        batch_size: int = 1,
        threads: int = 1,
        **given: Any,
    ) -> Iterator[PredictedImage]:
        """Predict the scene graphs of many images, one by one and in order; errors do not stop the others.

        Args:
            source, channel_order: see :class:`egtr.data.sources.ImageStream`.
            batch_size: accepted as by :class:`~egtr.inference.EGTRPredictor`; images go through the model one by one.
            threads: number of threads that read and resize images.
            given: ``boxes`` and the arguments that go with it, which an exported model does not take.

        Raises:
            DataError: immediately, for a source that can hold no image.
            ConfigurationError: immediately, for a number below 1, or if boxes are given.
        """
        _refuse_boxes(given)
        for name, value in (("batch_size", batch_size), ("threads", threads)):
            if value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be 1 or more")
        images = source if isinstance(source, ImageStream) else ImageStream(source, channel_order)
        images.max_pixels = images.max_pixels or self.max_pixels
        return self._stream(images, threads)

    def _stream(self, images: ImageStream, threads: int) -> Iterator[PredictedImage]:
        for source, image, pixels, error in read_ahead(self._prepare, images, threads, threads):
            yield PredictedImage(error=error) if error else PredictedImage(image, self._graph(source, image, pixels))

    def _prepare(
        self, source: SourceImage
    ) -> tuple[SourceImage, np.ndarray | None, np.ndarray | None, EGTRError | None]:
        try:
            image = source.read()
        except EGTRError as error:
            return source, None, None, error
        return source, image, self.preprocess(image), None

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """Resize an image (H, W, 3) as evaluation does: (1, 3, H', W') float32, 0..255."""
        preprocessing = self.info.preprocessing or {}
        height, width = image.shape[:2]
        if preprocessing.get("fixed_size"):
            size = tuple(preprocessing["fixed_size"])
        elif preprocessing.get("min_size"):
            size = detr_resize_shape(height, width, preprocessing["min_size"], preprocessing.get("max_size", 0))
        else:
            size = (height, width)
        if preprocessing.get("format") == "BGR":
            image = image[:, :, ::-1]
        if size != (height, width):
            resized = Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], Image.Resampling.BILINEAR)
            image = np.asarray(resized)
        return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)

    def _graph(self, source: SourceImage, image: np.ndarray, pixels: np.ndarray) -> SceneGraph:
        logits, boxes, connectivity, relation = self._session.run(pixels)
        height, width = image.shape[:2]
        centre, half = boxes[:, :2], boxes[:, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1) * np.array([width, height] * 2, np.float32)
        prediction = Prediction(
            logits=logits,
            boxes=corners,
            pairs=all_pairs(len(logits)),
            connectivity=connectivity.reshape(-1),
            relation=relation.reshape(-1, relation.shape[-1]),
            image_size=(height, width),
        )
        graph = SceneGraph.from_prediction(
            prediction, self.class_names, self.predicate_names, self.triplets_per_image, self.object_score
        )
        graph = replace(
            graph,
            file_name=source.file_name,
            frame=source.frame,
            time=source.time,
            object_threshold=self.object_threshold,
        )
        if self.calibration is not None:
            graph = self.calibration.apply(graph)
        return self._doubter.doubt(graph)


def predict(
    model: str | os.PathLike[str] | LitePredictor,
    source: Source | Iterable[Source],
    channel_order: str | None = None,
    *,
    threads: int = 1,
    on_error: Callable[[EGTRError], Any] | None = None,
    **given: Any,
) -> Iterator[SceneGraph]:
    """Predict the scene graphs of any images with an exported model; compare :func:`egtr.predict`.

    Args:
        model: an ``.onnx`` or ``.xml`` file, or a :class:`LitePredictor`.
        source, channel_order: see :class:`egtr.data.sources.ImageStream`.
        threads: number of threads that read and resize images.
        on_error: called with the error of each image that cannot be read; None: the error is raised.
        given: refused, see :meth:`LitePredictor.predict`.

    Yields:
        Graphs in the order of the images, without the raw record.

    Raises:
        WeightsError, ConfigurationError: immediately, for a model that cannot be opened.
        DataError: as :func:`egtr.predict`.
    """
    predictor = model if isinstance(model, LitePredictor) else LitePredictor(model)
    return graphs_of(predictor.predict(source, channel_order, threads=threads, **given), on_error)


def _refuse_boxes(given: dict[str, Any]) -> None:
    unknown = [name for name in given if name not in GIVEN]
    if unknown:
        raise TypeError(f"predict() got an unexpected keyword argument {unknown[0]!r}")
    if given:
        raise ConfigurationError(
            f"{', '.join(given)}: an exported model takes no boxes; give them to egtr.predict with the model itself"
        )
