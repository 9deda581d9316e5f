"""A trained model, ready for images in any form."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Self

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.evaluation.evaluator import inference_context

import egtr
from egtr._deprecated import REMOVED_IN
from egtr.config.arguments import DEFAULT_MODEL
from egtr.config.defaults import get_egtr_cfg
from egtr.config.loading import fall_back_to_cpu, read_config, without_pretrained
from egtr.data import build_augmentation
from egtr.data.datasets import register_rows
from egtr.data.given_boxes import GivenBoxes
from egtr.data.image import ImageSource, load_image
from egtr.data.sources import ImageStream, Source, SourceImage, get_file_name, read_ahead
from egtr.hub.model_zoo import list_models
from egtr.layers.folded_weights import FoldedWeights
from egtr.modeling import EGTR
from egtr.structures import (
    Calibration,
    ConfigurationError,
    DataError,
    EdgeExplanation,
    EGTRError,
    ModelInfo,
    PredictedImage,
    SceneGraph,
)
from egtr.structures.doubts import Doubter

from .explanation import explain_edges
from .given import GivenOptions, read_given
from .loading import load_model, read_names
from .remembered import RememberedImage
from .sharing import Sharing

logger = logging.getLogger(__name__)


class EGTRPredictor(Sharing):
    """A trained model, ready for images.

    Unlike Detectron2's ``DefaultPredictor``, it takes images in any form, resizes them as the evaluation of the model
    does, and returns only the graph, with names.

    Args:
        cfg: a configuration with MODEL.WEIGHTS set. Names come from MODEL.EGTR.CLASS_NAMES and PREDICATE_NAMES, else
            from the metadata or the files of DATASETS.TEST[0]. If MODEL.DEVICE is a GPU and the machine has none, the
            CPU is used.
        model: a built model to use as it is; MODEL.WEIGHTS is then not loaded. It may be in training mode: every call
            restores the mode.

    Attributes:
        cfg, model: the configuration and the model in use. Hooks see tensors of ``torch.inference_mode``; clone those
            that shall take part in a training.
        class_names, predicate_names: tuples, or None if no names that fit the model are known.
        info: the record of the loaded weights, or None. It decides about the ``warnings`` of graphs, of which the log
            has the first of each kind.
        calibration: decides about the probabilities of graphs; None if the record has none for these scores.
        weights: MODEL.WEIGHTS if they were loaded, "" for a built model.
        cfg_is_complete: whether the model can be built from ``cfg``. That of a built model lacks its architecture.

    Raises:
        ConfigurationError: INPUT.FORMAT is neither RGB nor BGR.
        WeightsError: MODEL.WEIGHTS is empty, cannot be read or lacks parameters of the model.
    """

    def __init__(self, cfg: CfgNode, model: torch.nn.Module | None = None):
        egtr.register()
        cfg = cfg.clone()
        cfg.defrost()
        register_rows(cfg.DATASETS.REGISTER)
        fall_back_to_cpu(cfg)
        self.cfg = cfg = without_pretrained(cfg)
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise ConfigurationError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; set it to 'RGB' or 'BGR'")
        self.class_names, self.predicate_names = read_names(cfg)
        self.info: ModelInfo | None = None
        self.weights = cfg.MODEL.WEIGHTS if model is None else ""
        if model is None:
            model, self.info = load_model(cfg)
        self._doubter = Doubter(self.info, logger)
        self.calibration = Calibration.of(self.info, cfg.TEST.SCENE_GRAPH.OBJECT_SCORE)
        self.model = model
        self.cfg_is_complete = True
        self.augmentations = T.AugmentationList(build_augmentation(cfg, is_train=False))

    @classmethod
    def from_config_file(cls, name: str = DEFAULT_MODEL, opts: Sequence[str] = ()) -> Self:
        """Make a predictor from a shipped model or a YAML file.

        Args:
            name: a model (:func:`egtr.hub.models.list_names`; one of the catalogue is fetched if the user agrees), a
                configuration that comes with EGTR (:func:`egtr.hub.model_zoo.list_configs`), or a path.
            opts: keys and values in turn, such as ``["MODEL.DEVICE", "cpu"]``.

        Raises:
            ConfigurationError: there is no such file or key.
            WeightsError: there is no such checkpoint, or it does not fit.
        """
        return cls(read_config(name, opts))

    @classmethod
    def create(cls, model: "str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module") -> "EGTRPredictor":
        """Make a predictor from anything that stands for a model.

        Args:
            model: a name or file for :meth:`from_config_file`; a configuration with MODEL.WEIGHTS; a predictor, which
                is returned as it is; or a built :class:`~egtr.modeling.EGTR`, which is used as it is.

        Raises:
            ConfigurationError: ``model`` is none of these, or there is no such file or key.
            WeightsError: its weights cannot be loaded.
        """
        if isinstance(model, EGTRPredictor):
            return model
        if isinstance(model, str | os.PathLike):
            return cls.from_config_file(os.fspath(model))
        if isinstance(model, CfgNode):
            return cls(model)
        if isinstance(model, EGTR):
            return cls._from_model(model)
        raise ConfigurationError(
            f"model: {type(model).__name__} is none. Give the name of a shipped model "
            f"({', '.join(list_models())}), a YAML file, a configuration, an EGTRPredictor or an EGTR. A "
            "module of another class also needs its configuration: EGTRPredictor(cfg, model)"
        )

    @classmethod
    def _from_model(cls, model: EGTR) -> Self:
        cfg = get_egtr_cfg()
        cfg.MODEL.DEVICE = str(model.device)
        cfg.INPUT.FORMAT = model.input_format
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = model.test_size
        cfg.DATASETS.TEST = ()
        predictor = cls(cfg, model)
        predictor.class_names, predictor.predicate_names = model.class_names, model.predicate_names
        predictor.cfg_is_complete = False
        return predictor

    def __call__(self, source: ImageSource, channel_order: str | None = None, **given: Any) -> SceneGraph:
        """Predict the scene graph of one image: all queries, and triplets by descending score.

        Args:
            source, channel_order: see :func:`egtr.data.image.load_image`.
            given: boxes, classes, scores, refine_boxes, with_found: see :meth:`predict`.

        Returns:
            A graph with its ``prediction``, and boxes in pixels of the image turned upright. ``graph.filter(...)``
            and ``graph.for_display()`` select the part worth reading.

        Raises:
            DataError: the image cannot be read, or its boxes are wrong.
            ConfigurationError: the model has no relation part.
        """
        options = read_given(self.model, 1, **given)
        image = self._open(source, channel_order)
        record, _ = self.prepare(image)
        if options.boxes is not None:
            options.add_to(record, options.boxes.find(image.file_name), self.model, self.class_names)
        return self._predict([record], [image])[0]

    def predict(
        self,
        source: Source | Iterable[Source] | ImageStream,
        channel_order: str | None = None,
        *,
        batch_size: int = 1,
        threads: int = 1,
        boxes: Any = None,
        classes: Any = None,
        scores: Any = None,
        refine_boxes: bool = False,
        with_found: bool = False,
    ) -> Iterator[PredictedImage]:
        """Predict the scene graphs of many images, one by one and in order.

        An image that cannot be read does not stop the others. A few images are read ahead while the model computes,
        so any number of them fits in memory.

        Args:
            source, channel_order: see :class:`egtr.data.sources.ImageStream`.
            batch_size: images that may go through the model at once. Images of a batch that differ in size go through
                it one after the other, because padding would change their graphs a little.
            threads: number of threads that read and resize images.
            boxes: boxes whose relations are wanted; they become the first objects of each graph, in their order. An
                array (n, 4) of x1, y1, x2, y2 in pixels of the upright image for one image, a mapping from file names
                for many, or other forms: see :mod:`egtr.data.given_boxes` and :mod:`egtr.data.boxes_of_images`. An
                image without boxes is an error, one with an empty array is not.
            classes: names or ids of the boxes' classes; None, for some or all, lets the model find them.
            scores: how sure the given classes are, in 0..1; None: 1.
            refine_boxes: return the boxes as the model corrects them.
            with_found: let the objects that the model finds itself follow the given ones.

        Raises:
            DataError: immediately, for a source that can hold no image, and for boxes that are wrong in themselves.
            ConfigurationError: immediately, for a number below 1; while iterating, if the model has no relation part.
        """
        for name, value in (("batch_size", batch_size), ("threads", threads)):
            if value < 1:
                raise ConfigurationError(f"{name} is {value}; it must be 1 or more")
        images = source if isinstance(source, ImageStream) else ImageStream(source, channel_order)
        images.max_pixels = images.max_pixels or self.cfg.INPUT.MAX_PIXELS
        total = None if boxes is None else images.total
        options = {"refine_boxes": refine_boxes, "with_found": with_found}
        given = read_given(self.model, total, boxes, classes, scores, **options)
        return self._stream(images, batch_size, threads, given)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[PredictedImage]:
        """Call :meth:`predict`; this is its old name, kept for one release."""
        message = f"EGTRPredictor.stream is now EGTRPredictor.predict; the old name goes in version {REMOVED_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.predict(*args, **kwargs)

    def explain(
        self,
        image: ImageSource,
        graph: SceneGraph,
        edges: Sequence[int] | None = None,
        channel_order: str | None = None,
    ) -> list[EdgeExplanation]:
        """Explain edges of a graph of this model: gates, attention, shares of the logit, sampling points.

        All edges together take one forward pass.

        Args:
            image, channel_order: the image that the graph was made of, see :func:`egtr.data.image.load_image`.
            graph: a graph of this model, which may be filtered, merged or read from a file, because its
                ``triplet_queries`` name the queries.
            edges: rows of ``graph.triplets``; None: all of them.

        Returns:
            An explanation of each edge, in order.

        Raises:
            PredictionError: there is no such edge, or the graph is of another model or another image.
            DataError: the image cannot be read.
        """
        record, _ = self.prepare(self._open(image, channel_order))
        return explain_edges(self.model, record, graph, edges, self.class_names, self.predicate_names)

    def remember(self, source: ImageSource, channel_order: str | None = None) -> RememberedImage:
        """Encode an image once, to ask for the relations of other boxes as often as wanted.

        ``predictor.remember("photo.jpg").relate(boxes)`` is the graph of ``predict("photo.jpg", boxes=boxes)``.

        Args:
            source, channel_order: see :func:`egtr.data.image.load_image`.

        Raises:
            DataError: the image cannot be read.
            ConfigurationError: the model is no EGTR with a relation part, or has a ``network`` of its own.
        """
        image = self._open(source, channel_order)
        record, _ = self.prepare(image)
        return RememberedImage(self.model, record, image, self.class_names, self.evaluating, self.complete)

    def _open(self, source: ImageSource, channel_order: str | None) -> SourceImage:
        read = partial(load_image, source, channel_order, self.cfg.INPUT.MAX_PIXELS)
        return SourceImage(read, get_file_name(source))

    def _stream(
        self, images: ImageStream, batch_size: int, threads: int, given: GivenOptions
    ) -> Iterator[PredictedImage]:
        prepare = partial(self._try_to_prepare, given)
        prepared = read_ahead(prepare, given.assign(images), threads, batch_size + threads)
        weights = FoldedWeights(self.model)
        while batch := list(islice(prepared, batch_size)):
            sound = [(record, source) for record, source, result in batch if result.error is None]
            with weights.shared():
                graphs = iter(self._predict(*zip(*sound, strict=True)) if sound else ())
            for _, _, result in batch:
                if result.error is None:
                    result.graph = next(graphs)
                yield result

    def _try_to_prepare(
        self, given: GivenOptions, image: tuple[SourceImage, GivenBoxes | DataError | None]
    ) -> tuple[dict[str, Any] | None, SourceImage, PredictedImage]:
        source, boxes = image
        try:
            if isinstance(boxes, DataError):
                raise boxes
            record, image = self.prepare(source)
            given.add_to(record, boxes, self.model, self.class_names)
        except EGTRError as error:
            return None, source, PredictedImage(error=error)
        return record, source, PredictedImage(image)

    def prepare(self, source: SourceImage) -> tuple[dict[str, Any], np.ndarray]:
        """Read an image and resize it for the model.

        Returns:
            The input record of the model, and the image itself, (H, W, 3) uint8, RGB.

        Raises:
            DataError: the image cannot be read.
        """
        image = source.read()
        aug_input = T.AugInput(np.ascontiguousarray(image[:, :, ::-1] if self.cfg.INPUT.FORMAT == "BGR" else image))
        self.augmentations(aug_input)
        pixels = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        return {"image": pixels, "height": image.shape[0], "width": image.shape[1]}, image

    # Without the records that gradients need, a small model takes 2 to 4 % less time.
    @torch.inference_mode()
    def _predict(self, records: Sequence[dict[str, Any]], sources: Sequence[SourceImage]) -> list[SceneGraph]:
        by_size: dict[torch.Size, list[int]] = {}
        for index, record in enumerate(records):
            by_size.setdefault(record["image"].shape, []).append(index)
        results: list[dict[str, Any]] = [{}] * len(records)
        with self.evaluating():
            for indices in by_size.values():
                for index, result in zip(indices, self.model([records[i] for i in indices]), strict=True):
                    results[index] = result
        if "scene_graph" not in results[0]:
            raise ConfigurationError(
                "MODEL.EGTR.RELATION.ENABLED is False: the model detects objects but finds no relations; "
                "take a model with a relation part"
            )
        return [self.complete(result["scene_graph"], source) for result, source in zip(results, sources, strict=True)]

    def evaluating(self) -> AbstractContextManager:
        """Return a context in which the model is in evaluation mode; afterwards it has its former mode again."""
        # Switching the mode of every module, as the context does, takes as long as a tenth of a small model, and the
        # generator of all modules half as long as that.
        modules = [self.model]
        for module in modules:
            if module.training:
                return inference_context(self.model)
            modules.extend(part for part in module._modules.values() if part is not None)
        return nullcontext()

    def complete(self, graph: SceneGraph, source: SourceImage) -> SceneGraph:
        """Add to a graph of the model what only the predictor knows: names, source, probabilities, doubts."""
        graph = replace(
            graph,
            class_names=graph.class_names or self.class_names,
            predicate_names=graph.predicate_names or self.predicate_names,
            file_name=source.file_name,
            frame=source.frame,
            time=source.time,
            object_threshold=self.cfg.TEST.SCENE_GRAPH.OBJECT_THRESHOLD,
        )
        return self._doubter.doubt(graph if self.calibration is None else self.calibration.apply(graph))
