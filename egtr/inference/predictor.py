"""From any image to its scene graph, in one call."""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from detectron2.modeling import build_model

import egtr
from egtr._deprecated import REMOVED_IN
from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.config.arguments import DEFAULT_MODEL
from egtr.config.defaults import get_egtr_cfg
from egtr.config.loading import fall_back_to_cpu, read_config, without_pretrained
from egtr.data import build_augmentation, get_metadata
from egtr.data.datasets import register_rows
from egtr.data.image import ImageSource, load_image
from egtr.data.sources import ImageStream, Source, SourceImage, get_file_name, read_ahead
from egtr.hub.model_zoo import list_models
from egtr.modeling import EGTR
from egtr.modeling.names import get_names
from egtr.structures import EGTRError, PredictedImage, SceneGraph

logger = logging.getLogger(__name__)


class EGTRPredictor:
    """A trained model, ready for images.

    Unlike Detectron2's ``DefaultPredictor`` it takes images in any form, resizes them by the rule the model was
    evaluated with and returns the graph alone, with names.

    Args:
        cfg: a configuration with MODEL.WEIGHTS set. Names come from MODEL.EGTR.CLASS_NAMES and PREDICATE_NAMES, or
            from the metadata of DATASETS.TEST[0] or its files, where they are there. Where MODEL.DEVICE is a GPU and
            there is none, the CPU serves.
        model: a built model in place of a new one; MODEL.WEIGHTS is not loaded then. It may be in training: each
            call leaves it in the mode in which it was.

    Attributes:
        cfg, model: as used.
        class_names, predicate_names: tuples, or None where none are known that fit the model.

    Raises:
        EGTRError: MODEL.WEIGHTS is empty, cannot be read or lacks parameters of the model.
    """

    def __init__(self, cfg: CfgNode, model: torch.nn.Module | None = None):
        egtr.register()
        cfg = cfg.clone()
        cfg.defrost()
        register_rows(cfg.DATASETS.REGISTER)
        fall_back_to_cpu(cfg)
        self.cfg = cfg = without_pretrained(cfg)
        if cfg.INPUT.FORMAT not in ("RGB", "BGR"):
            raise EGTRError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}; take 'RGB' or 'BGR'")
        if len(cfg.DATASETS.TEST) and not (cfg.MODEL.EGTR.CLASS_NAMES and cfg.MODEL.EGTR.PREDICATE_NAMES):
            _read_names(cfg.DATASETS.TEST[0])
        self.class_names, self.predicate_names = get_names(cfg)
        if model is None:
            model = _load_model(cfg).eval()
        self.model = model
        self.augmentations = T.AugmentationList(build_augmentation(cfg, is_train=False))

    @classmethod
    def from_config_file(cls, name: str = DEFAULT_MODEL, opts: Sequence[str] = ()) -> Self:
        """A predictor for a shipped model or a YAML file.

        Args:
            name: a model or a configuration that comes with EGTR (:func:`egtr.hub.model_zoo.list_models` and
                ``list_configs``), or a path.
            opts: keys and values in turn, such as ``["MODEL.DEVICE", "cpu"]``.

        Raises:
            EGTRError: there is no such file, key or checkpoint.
        """
        return cls(read_config(name, opts))

    @classmethod
    def create(cls, model: "str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module") -> "EGTRPredictor":
        """A predictor for whatever stands for a model.

        Args:
            model: a name or file for :meth:`from_config_file`; a configuration with MODEL.WEIGHTS; a predictor, which
                is returned as it is; or a built :class:`~egtr.modeling.EGTR`, used as it is.

        Raises:
            EGTRError: it is none of these, or cannot be loaded.
        """
        if isinstance(model, EGTRPredictor):
            return model
        if isinstance(model, str | os.PathLike):
            return cls.from_config_file(os.fspath(model))
        if isinstance(model, CfgNode):
            return cls(model)
        if isinstance(model, EGTR):
            return cls._from_model(model)
        raise EGTRError(
            f"model: {type(model).__name__} is none. Give the name of a shipped model "
            f"({', '.join(list_models())}), a YAML file, a configuration, an EGTRPredictor or an EGTR. A "
            "module of another class needs its configuration, too: EGTRPredictor(cfg, model)"
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
        return predictor

    def __call__(self, source: ImageSource, channel_order: str | None = None) -> SceneGraph:
        """The scene graph of one image: all queries, and triplets by descending score.

        Args:
            source, channel_order: see :func:`egtr.data.image.load_image`.

        Returns:
            A graph with boxes in pixels of the image turned upright and with its ``prediction``.
            ``graph.filter(...)`` and ``graph.for_display()`` leave what is worth reading.

        Raises:
            EGTRError: the image cannot be read, or the model has no relation part.
        """
        read = partial(load_image, source, channel_order, self.cfg.INPUT.MAX_PIXELS)
        image = SourceImage(read, get_file_name(source))
        record, _ = self.prepare(image)
        return self._predict([record], [image])[0]

    def predict(
        self,
        source: Source | Iterable[Source] | ImageStream,
        channel_order: str | None = None,
        *,
        batch_size: int = 1,
        threads: int = 1,
    ) -> Iterator[PredictedImage]:
        """The scene graphs of many images, one by one and in order; a broken image does not stop it.

        Images are read ahead while the model computes, a few at a time, so that any number of them fits in memory.

        Args:
            source, channel_order: see :class:`egtr.data.sources.ImageStream`.
            batch_size: images that may go through the model at once. Those of a batch that differ in size go one
                after the other, because padding would change their graphs a little.
            threads: that read and resize images.

        Raises:
            EGTRError: at once, for sources that can hold no image or a number below 1; while iterating, where the
                model has no relation part.
        """
        for name, value in (("batch_size", batch_size), ("threads", threads)):
            if value < 1:
                raise EGTRError(f"{name} is {value}; it has to be 1 or more")
        images = source if isinstance(source, ImageStream) else ImageStream(source, channel_order)
        images.max_pixels = images.max_pixels or self.cfg.INPUT.MAX_PIXELS
        return self._stream(images, batch_size, threads)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[PredictedImage]:
        """The old name of :meth:`predict`, for one release."""
        message = f"EGTRPredictor.stream is now EGTRPredictor.predict; the old name goes in version {REMOVED_IN}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.predict(*args, **kwargs)

    def _stream(self, images: ImageStream, batch_size: int, threads: int) -> Iterator[PredictedImage]:
        prepared = read_ahead(self._try_to_prepare, images, threads, batch_size + threads)
        while batch := list(islice(prepared, batch_size)):
            sound = [(record, source) for record, source, result in batch if result.error is None]
            graphs = iter(self._predict(*zip(*sound, strict=True)) if sound else ())
            for _, _, result in batch:
                if result.error is None:
                    result.graph = next(graphs)
                yield result

    def _try_to_prepare(self, source: SourceImage) -> tuple[dict[str, Any] | None, SourceImage, PredictedImage]:
        try:
            record, image = self.prepare(source)
        except EGTRError as error:
            return None, source, PredictedImage(error=error)
        return record, source, PredictedImage(image)

    def prepare(self, source: SourceImage) -> tuple[dict[str, Any], np.ndarray]:
        """The input record of the model, resized, and the image itself, (H, W, 3) uint8, RGB.

        Raises:
            EGTRError: it cannot be read.
        """
        image = source.read()
        height, width = image.shape[:2]
        aug_input = T.AugInput(np.ascontiguousarray(image[:, :, ::-1] if self.cfg.INPUT.FORMAT == "BGR" else image))
        self.augmentations(aug_input)
        pixels = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        return {"image": pixels, "height": height, "width": width}, image

    @torch.no_grad()
    def _predict(self, records: Sequence[dict[str, Any]], sources: Sequence[SourceImage]) -> list[SceneGraph]:
        by_size: dict[torch.Size, list[int]] = {}
        for index, record in enumerate(records):
            by_size.setdefault(record["image"].shape, []).append(index)
        results: list[dict[str, Any]] = [{}] * len(records)
        with inference_context(self.model):
            for indices in by_size.values():
                for index, result in zip(indices, self.model([records[i] for i in indices]), strict=True):
                    results[index] = result
        if "scene_graph" not in results[0]:
            raise EGTRError("MODEL.EGTR.RELATION.ENABLED is False: the model detects objects but finds no relations")
        return [
            replace(
                result["scene_graph"],
                class_names=result["scene_graph"].class_names or self.class_names,
                predicate_names=result["scene_graph"].predicate_names or self.predicate_names,
                file_name=source.file_name,
                frame=source.frame,
                time=source.time,
            )
            for result, source in zip(results, sources, strict=True)
        ]


def predict(
    model: str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module,
    source: Source | Iterable[Source],
    channel_order: str | None = None,
    *,
    batch_size: int = 1,
    threads: int = 1,
    on_error: Callable[[EGTRError], Any] | None = None,
) -> Iterator[SceneGraph]:
    """The scene graphs of any images, with any model: ``for graph in egtr.predict("scenes", "photos/"): ...``

    Always an iterator, which computes a graph when it is asked for the next one; of a single image,
    ``next(egtr.predict(...))`` is the graph. The model is loaded by the call itself: to call more than once, make it
    first, ``model = EGTRPredictor.create("scenes")``.

    Args:
        model: the name of a shipped model (:func:`egtr.hub.model_zoo.list_models`), a YAML file or configuration with
            MODEL.WEIGHTS, an :class:`EGTRPredictor`, or a built :class:`~egtr.modeling.EGTR`.
        source: a path, folder, pattern, video, camera index, PIL image, array, tensor, bytes or binary file, or an
            iterable of these: see :class:`egtr.data.sources.ImageStream`.
        channel_order: "RGB" or "BGR"; needed for arrays and tensors with three channels.
        batch_size, threads: see :meth:`EGTRPredictor.predict`.
        on_error: called with the error of each image that cannot be read, which is then left out, such as ``print``
            or a list's ``append``. None: the error is raised.

    Yields:
        Graphs in the order of the images, with all queries as objects, where they came from (``file_name``,
        ``frame``, ``time``), and without the raw record (``prediction`` is None), so that a list of many stays small.

    Raises:
        EGTRError: at once, for a model that cannot be loaded or a source that can hold no image; while iterating,
            for an image that cannot be read.
    """
    results = EGTRPredictor.create(model).predict(source, channel_order, batch_size=batch_size, threads=threads)
    return _graphs(results, on_error)


def _graphs(results: Iterator[PredictedImage], on_error: Callable[[EGTRError], Any] | None) -> Iterator[SceneGraph]:
    for result in results:
        if result.error is None:
            yield replace(result.graph, prediction=None)
        elif on_error is None:
            raise result.error
        else:
            on_error(result.error)


def _load_model(cfg: CfgNode) -> torch.nn.Module:
    if not cfg.MODEL.WEIGHTS:
        raise EGTRError(
            "MODEL.WEIGHTS is empty, so there is no trained model to predict with. Set it in the configuration, or "
            "add MODEL.WEIGHTS FILE to the options"
        )
    model = build_model(cfg)
    checkpointer = EGTRCheckpointer(model)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    checkpointer.check_complete(cfg.MODEL.WEIGHTS)
    return model


def _read_names(dataset_name: str) -> None:
    """Prediction needs no dataset; names are all that is missing where there is none."""
    try:
        get_metadata(dataset_name)
    except EGTRError as error:
        logger.info("Names of classes and predicates may be missing: %s", error)
