"""An image that a predictor has read and encoded once, to be asked for the relations of corrected boxes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import torch

from egtr.data.given_boxes import read_boxes
from egtr.modeling import EGTR
from egtr.modeling.image_memory import ImageMemory
from egtr.structures import ConfigurationError, SceneGraph

from .given import GivenOptions


class RememberedImage:
    """An image in the memory of a model, see :class:`egtr.modeling.image_memory.ImageMemory`.

    Args:
        model: an EGTR, whose weights must not change as long as this is used.
        record: the input record of the image, of :meth:`EGTRPredictor.prepare`.
        class_names: the model's class names, or None.
        evaluating: makes the context in which the model computes.
        complete: adds to a graph of the model what only the predictor knows.

    Attributes:
        graph: what the model finds itself, as :meth:`EGTRPredictor.predict` returns it.

    Raises:
        ConfigurationError: the model is no EGTR with a relation part, or has a ``network`` of its own.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        record: dict[str, Any],
        class_names: Sequence[str] | None,
        evaluating: Callable[[], AbstractContextManager],
        complete: Callable[[SceneGraph], SceneGraph],
    ):
        if not isinstance(model, EGTR):
            raise ConfigurationError(
                f"model: {type(model).__name__} cannot remember an image; only an EGTR can. Take one, or "
                "predict the image again for each correction"
            )
        self._model = model
        self._class_names = class_names
        self._evaluating = evaluating
        self._complete = complete
        self._frame = {key: record[key] for key in ("height", "width")}
        with evaluating():
            self._memory = ImageMemory(model, record)
        self.graph = complete(self._memory.graph)

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
            boxes: the boxes of this image, in any form of :mod:`egtr.data.given_boxes`.
            classes, scores, refine_boxes, with_found: see :meth:`EGTRPredictor.predict`.

        Returns:
            The graph that :meth:`EGTRPredictor.predict` would return for these boxes.

        Raises:
            DataError: the boxes are wrong, or the model lacks a class.
        """
        given = dict(self._frame)
        options = GivenOptions(None, refine_boxes, with_found)
        options.add_to(given, read_boxes(boxes, classes, scores), self._model, self._class_names)
        with self._evaluating():
            graph = self._memory.relate(given)
        return self._complete(graph)
