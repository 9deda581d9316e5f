"""An image that a predictor has read and encoded once, to be asked for the relations of corrected boxes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import torch

from egtr.data.sources import SourceImage
from egtr.modeling import EGTR
from egtr.modeling.image_memory import ImageMemory
from egtr.structures import ConfigurationError, DataError, SceneGraph

from .given import read_given


class RememberedImage:
    """An image in the memory of a model, see :class:`egtr.modeling.image_memory.ImageMemory`.

    Args:
        model: an EGTR, whose weights must not change as long as this is used.
        record: the input record of the image, of :meth:`EGTRPredictor.prepare`.
        source: the image; its name finds its boxes among others.
        class_names: the model's class names, or None.
        evaluating: makes the context in which the model computes.
        complete: adds to a graph of the model what only the predictor knows about it and its image.

    Attributes:
        graph: what the model finds itself, as :meth:`EGTRPredictor.predict` returns it.

    Raises:
        ConfigurationError: the model is no EGTR with a relation part, or has a ``network`` of its own.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        record: dict[str, Any],
        source: SourceImage,
        class_names: Sequence[str] | None,
        evaluating: Callable[[], AbstractContextManager],
        complete: Callable[[SceneGraph, SourceImage], SceneGraph],
    ):
        if not isinstance(model, EGTR):
            raise ConfigurationError(
                f"model: {type(model).__name__} cannot remember an image; only an EGTR can. Take one, or "
                "predict the image again for each correction"
            )
        self._model = model
        self._source = source
        self._class_names = class_names
        self._evaluating = evaluating
        self._complete = complete
        self._frame = {key: record[key] for key in ("height", "width")}
        with evaluating():
            self._memory = ImageMemory(model, record)
        self.graph = complete(self._memory.graph, source)

    def relate(
        self,
        boxes: Any,
        classes: Any = None,
        scores: Any = None,
        refine_boxes: bool = False,
        with_found: bool = False,
    ) -> SceneGraph:
        """Predict the relations between boxes, without encoding the image again.

        Args:
            boxes, classes, scores, refine_boxes, with_found: see :meth:`EGTRPredictor.predict`; there must be boxes.

        Returns:
            The graph that :meth:`EGTRPredictor.predict` would return for these boxes.

        Raises:
            DataError: the boxes are wrong, or the model lacks a class.
        """
        if boxes is None:
            raise DataError("boxes: there are none; give them, or take the attribute graph")
        options = {"refine_boxes": refine_boxes, "with_found": with_found}
        given = read_given(self._model, 1, boxes, classes, scores, **options)
        record = dict(self._frame)
        found = given.boxes.find(self._source.file_name, self._source.frame)
        given.add_to(record, found, self._model, self._class_names)
        with self._evaluating():
            graph = self._memory.relate(record)
        return self._complete(graph, self._source)
