"""An image that a predictor has read and encoded once, to be asked for the relations of corrected boxes."""

from typing import TYPE_CHECKING, Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing

from egtr.data.given_boxes import read_boxes
from egtr.data.sources import SourceImage
from egtr.modeling import EGTR
from egtr.modeling.image_memory import ImageMemory
from egtr.structures import ConfigurationError, SceneGraph

from .given import GivenOptions

if TYPE_CHECKING:
    from .predictor import EGTRPredictor


class RememberedImage:
    """An image in the memory of a model, see :class:`egtr.modeling.image_memory.ImageMemory`.

    Args:
        predictor: its model's weights must not change as long as this is used.
        source: the image.

    Attributes:
        graph: what the model finds itself, as :meth:`EGTRPredictor.predict` returns it.

    Raises:
        ConfigurationError: the model is no EGTR with a relation part, or has a ``network`` of its own.
        DataError: the image cannot be read.
    """

    def __init__(self, predictor: "EGTRPredictor", source: SourceImage):
        if not isinstance(predictor.model, EGTR):
            raise ConfigurationError(
                f"model: {type(predictor.model).__name__} cannot remember an image; only an EGTR can. Take one, or "
                "predict the image again for each correction"
            )
        self._predictor = predictor
        self._source = source
        record, _ = predictor.prepare(source)
        self._frame = {key: record[key] for key in ("height", "width")}
        with predictor.evaluating():
            self._memory = ImageMemory(predictor.model, record)
        self.graph = predictor.complete(self._memory.graph, source)

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
        predictor = self._predictor
        given = dict(self._frame)
        options = GivenOptions(None, refine_boxes, with_found)
        options.add_to(given, read_boxes(boxes, classes, scores), predictor.model, predictor.class_names)
        with predictor.evaluating():
            graph = self._memory.relate(given)
        return predictor.complete(graph, self._source)
