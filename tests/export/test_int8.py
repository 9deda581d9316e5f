"""The parts that int8 leaves in float, and the share of graphs that it keeps, by hand."""

from types import SimpleNamespace

import numpy as np
import openvino
import pytest

from egtr.export.int8 import quantize, relation_part
from egtr.export.openvino import share_kept
from egtr.structures import ConfigurationError
from tests.lite.known_model import write_model


def test_the_relation_part_is_all_that_the_detector_does_not_need(tmp_path):
    model = openvino.Core().read_model(write_model(tmp_path / "m.onnx"))
    names = set(relation_part(model))
    # Of the answers that do not depend on the image, the boxes belong to the detector.
    assert {"connectivity", "relation"} <= names
    assert not {"image", "most", "bright", "fixed", "boxes", "logits"} & names


def test_int8_needs_images(tmp_path):
    model = openvino.Core().read_model(write_model(tmp_path / "m.onnx"))
    with pytest.raises(ConfigurationError, match="int8 needs images to calibrate with"):
        quantize(model, [])


def test_the_share_that_is_kept():
    def answering(*graphs):
        graphs = iter(graphs)
        return lambda image, order: next(graphs)

    def graph(*triplets):
        """Make a graph of (subject query, object query, predicate)."""
        rows = np.array(triplets).reshape(-1, 3)
        return SimpleNamespace(triplet_queries=rows[:, :2], triplets=np.array([[9, 9, p] for p in rows[:, 2]]))

    exact = answering(graph((0, 1, 0), (1, 0, 0)), graph((0, 1, 3), (2, 1, 3), (4, 1, 3), (5, 6, 1)))
    rounded = answering(graph((1, 0, 0), (0, 1, 0)), graph((0, 1, 3), (2, 1, 2), (1, 4, 3), (6, 5, 1)))
    # The order does not matter: 2 of 2; then 1 of 4.
    assert share_kept(exact, rounded, [None, None]) == pytest.approx((1 + 0.25) / 2)
