"""Annotations as a graph."""

from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from egtr.structures import EGTRError, SceneGraph
from egtr.visualization import draw_scene_graph, graph_from_annotations

RECORD = {
    "file_name": "a.png",
    "image_id": 7,
    "height": 50,
    "width": 80,
    "annotations": [
        {"bbox": [10, 10, 20, 30], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1},
        {"bbox": [0, 0, 80, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1},
        {"bbox": [5, 6, 7, 8], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0},
    ],
    "relations": [[2, 0, 1], [0, 1, 0], [2, 0, 1]],
}
NAMES = SimpleNamespace(thing_classes=["cup", "table"], predicate_classes=["under", "on"])


def test_by_hand():
    graph = graph_from_annotations(RECORD, NAMES)
    # the crowd goes, with the relation that touched it; 2 becomes 1; the repeated relation is one edge
    assert graph.boxes.tolist() == [[10, 10, 30, 40], [5, 6, 7, 8]]
    assert graph.triplets.tolist() == [[1, 0, 1]]
    assert graph.triplet_scores.tolist() == [1] and graph.scores.tolist() == [1, 1]
    assert graph.image_size == (50, 80)
    assert str(graph).splitlines()[-1].split() == ["1", "1.000", "cup", "(1)", "on", "table", "(0)"]
    assert SceneGraph.from_dict(graph.to_dict()).to_dict() == graph.to_dict()
    assert graph_from_annotations(RECORD).class_name(0) == "class 1"


def test_registered_data_set(tiny_dataset):
    record = DatasetCatalog.get(tiny_dataset.test)[0]
    graph = graph_from_annotations(record, MetadataCatalog.get(tiny_dataset.test))
    assert len(graph.boxes) == len(record["annotations"])
    assert graph.triplets.tolist() == [list(row) for row in record["relations"]]
    assert graph.class_names == tiny_dataset.thing_classes
    draw_scene_graph(np.zeros((72, 96, 3), np.uint8), graph)


@pytest.mark.parametrize("field", ["height", "width", "annotations"])
def test_missing_field(field):
    with pytest.raises(EGTRError, match=field):
        graph_from_annotations({key: value for key, value in RECORD.items() if key != field})
