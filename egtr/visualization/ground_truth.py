"""Annotations as a scene graph, to be drawn like a prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egtr.structures import DataError, SceneGraph
from egtr.structures.ground_truth import GroundTruth


def graph_from_annotations(dataset_dict: Mapping[str, Any], metadata: Any = None) -> SceneGraph:
    """Make a graph of the annotated objects and relations of one image; every score is 1.

    Args:
        dataset_dict: the record of Detectron2, with ``height``, ``width``, ``annotations`` and ``relations`` (see
            :meth:`egtr.structures.ground_truth.GroundTruth.from_dict`). Repeated relations become one.
        metadata: an object with ``thing_classes`` and ``predicate_classes``, such as ``MetadataCatalog.get(name)``;
            None, or an object without them: the graph has no names.

    Raises:
        DataError: a field is missing or malformed.
    """
    for field in ("height", "width"):
        if field not in dataset_dict:
            where = dataset_dict.get("file_name", "dataset dict")
            raise DataError(f"{where}: field {field} is missing; give the size of the image in pixels")
    class_names = getattr(metadata, "thing_classes", None)
    predicate_names = getattr(metadata, "predicate_classes", None)
    image_size = (int(dataset_dict["height"]), int(dataset_dict["width"]))
    return graph_from_ground_truth(GroundTruth.from_dict(dataset_dict), image_size, class_names, predicate_names)


def graph_from_ground_truth(
    truth: GroundTruth,
    image_size: tuple[int, int],
    class_names: Sequence[str] | None = None,
    predicate_names: Sequence[str] | None = None,
) -> SceneGraph:
    """Make a graph of annotations that are already read; every score is 1.

    Args:
        truth: the annotations; repeated triplets become one; the first ones stay, in their order.
        image_size: (height, width) in pixels.
        class_names, predicate_names: C and R names, or None.
    """
    _, first = np.unique(truth.triplets, axis=0, return_index=True)
    triplets = truth.triplets[np.sort(first)]
    return SceneGraph(
        boxes=truth.boxes,
        classes=truth.classes,
        scores=np.ones(len(truth.boxes), dtype=np.float32),
        triplets=triplets,
        triplet_scores=np.ones(len(triplets), dtype=np.float32),
        image_size=image_size,
        class_names=tuple(class_names) if class_names else None,
        predicate_names=tuple(predicate_names) if predicate_names else None,
    )
