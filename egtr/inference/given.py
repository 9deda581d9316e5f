"""Boxes that a caller gives to a predictor, from any form to the input record of the model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import torch
from detectron2.structures import Boxes, Instances

from egtr.data.boxes_of_images import BoxesOfImages, read_boxes_of_images
from egtr.data.given_boxes import GivenBoxes
from egtr.data.sources import SourceImage
from egtr.modeling import EGTR
from egtr.structures import ConfigurationError, DataError


@dataclass
class GivenOptions:
    """Boxes for the images of a source, and what to make of them.

    Attributes:
        boxes: the boxes of each image; None: the model finds all objects itself.
        refine_boxes, with_found: see :meth:`egtr.inference.EGTRPredictor.predict`.
    """

    boxes: BoxesOfImages | None
    refine_boxes: bool = False
    with_found: bool = False

    def assign(self, images: Iterable[SourceImage]) -> Iterator[tuple[SourceImage, GivenBoxes | DataError | None]]:
        """Find the boxes of each image, in order; an error stands for boxes that are not there."""
        for image in images:
            if self.boxes is None:
                yield image, None
                continue
            try:
                found = self.boxes.find(image.file_name, image.frame)
            except DataError as error:
                found = error
            yield image, found

    def add_to(self, record: dict[str, Any], given: GivenBoxes | None, model: torch.nn.Module, names: Any) -> None:
        """Put the boxes into an input record of a model, see :mod:`egtr.modeling.given_boxes`.

        Args:
            record: with the height and width of the image.
            given: its boxes, or None.
            model: the model.
            names: its class names, or None.

        Raises:
            DataError: a box lies outside the image, or the model lacks a class.
        """
        if given is None:
            return
        given.check_image(record["height"], record["width"])
        instances = Instances((record["height"], record["width"]))
        instances.pred_boxes = Boxes(torch.from_numpy(given.boxes).float())
        # The table of predicates by classes has one more row.
        num_classes = len(names) if names else len(model.relation.frequency_bias.table) - 1
        instances.pred_classes = torch.from_numpy(given.class_ids(names, num_classes))
        instances.scores = torch.from_numpy(given.scores).float()
        record |= {"given": instances, "refine_boxes": self.refine_boxes, "with_found": self.with_found}


def read_given(
    model: torch.nn.Module,
    total: int | None,
    boxes: Any = None,
    classes: Any = None,
    scores: Any = None,
    **options: bool,
) -> GivenOptions:
    """Read the arguments of a call of a predictor.

    Args:
        model: the model, which has to be an EGTR with a relation part if there are boxes.
        total: the number of images, or None if it is not known.
        boxes, classes, scores: see :meth:`egtr.inference.EGTRPredictor.predict`.
        options: of :class:`GivenOptions`.

    Raises:
        DataError: the boxes cannot be read, or are of one image although there are several.
        ConfigurationError: there are other arguments but no boxes, or the model takes none.
    """
    if boxes is None:
        for name, value in {"classes": classes, "scores": scores, **options}.items():
            if value is not None and value is not False:
                raise ConfigurationError(f"{name} says something of given boxes, but there are none; give boxes, too")
        return GivenOptions(None)
    if not isinstance(model, EGTR) or model.relation is None:
        raise ConfigurationError(
            "boxes: only an EGTR with a relation part (MODEL.EGTR.RELATION.ENABLED) takes boxes; take another model"
        )
    found = read_boxes_of_images(boxes, classes, scores)
    if total == 1:
        found = found.for_one_image()
    elif found.is_for_one_image and total is not None:
        raise DataError(
            f"{found.where}: are the boxes of one image, but there are {total} images; give a mapping from file "
            "names to boxes"
        )
    return GivenOptions(found, **options)
