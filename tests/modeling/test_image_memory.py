"""An image that is kept gives the graphs that the whole model gives."""

import numpy as np
import pytest
import torch

from egtr.layers import QueryKeySelfAttention
from egtr.modeling.image_memory import ImageMemory
from egtr.modeling.transformer.box_queries import make_box_queries
from egtr.structures import ConfigurationError

from .models import image, small_model
from .test_given_boxes import BOXES, each_kind, graph_of, make_given, make_model

SMALLER = (0, -1), [[0.0, 0, 20, 20], [8, 8, 60, 44]]


def assert_same(graph, expected):
    assert graph.given_by == expected.given_by
    np.testing.assert_array_equal(graph.classes, expected.classes)
    np.testing.assert_array_equal(graph.triplets, expected.triplets)
    for name in ("scores", "triplet_scores"):
        np.testing.assert_allclose(getattr(graph, name), getattr(expected, name), rtol=0, atol=1e-5)
    # Float32 counts in steps of 8e-6 above 64 pixels, and kernels for other numbers of queries round otherwise.
    np.testing.assert_allclose(graph.boxes, expected.boxes, rtol=1e-6, atol=1e-5)


@each_kind
def test_same_graphs_as_the_whole_model(kind):
    model, record = make_model(kind), image() | {"height": 96, "width": 128}
    memory = ImageMemory(model, record)
    assert_same(memory.graph, graph_of(model, record))
    classes, boxes = SMALLER
    for fields in (
        {"given": make_given(np.array(BOXES) * 2, size=(96, 128))},
        {"given": make_given(boxes, classes, size=(96, 128)), "refine_boxes": True},
        {"given": make_given(np.array(BOXES) * 2, size=(96, 128)), "with_found": True},
        {"given": make_given([], [], size=(96, 128)), "with_found": True},
    ):
        assert_same(memory.relate(fields), graph_of(model, record | fields))


@pytest.mark.parametrize("kind", ["deformable", "rtdetr", "released"])
def test_the_encoder_runs_once(kind, monkeypatch):
    model, record = make_model(kind), image()
    calls = []
    forward = model.backbone.forward
    monkeypatch.setattr(model.backbone, "forward", lambda x: calls.append(1) or forward(x))
    memory = ImageMemory(model, record)
    for _ in range(3):
        memory.relate({"given": make_given()})
    assert len(calls) == 1


@pytest.mark.parametrize("kind", ["deformable", "two_stage", "rtdetr"])
def test_own_queries_are_decoded_once(kind):
    model, record = make_model(kind), image()
    memory = ImageMemory(model, record)
    lengths = []
    for module in model.modules():
        if isinstance(module, QueryKeySelfAttention):
            module.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    memory.relate({"given": make_given()})
    assert lengths and set(lengths) == {len(BOXES)}


def test_box_queries_alone_need_decoded_ones():
    model = make_model("rtdetr")
    with torch.no_grad():
        encoded = model.encode(model.preprocess_image([image()]))
        with pytest.raises(RuntimeError, match=r"before decode\(\)"):
            model.transformer.decode_boxes(encoded, make_box_queries([torch.rand(2, 4)], [None], 5, "cpu"))


def test_dense_relations_and_bfloat16():
    model = small_model("TEST.AMP", True, "MODEL.EGTR.RELATION.PRUNE_PAIRS", False).eval()
    record = image()
    memory = ImageMemory(model, record)
    assert_same(memory.graph, graph_of(model, record))
    assert_same(memory.relate({"given": make_given()}), graph_of(model, record | {"given": make_given()}))


def test_a_model_without_relations_is_refused():
    model = small_model("MODEL.EGTR.RELATION.ENABLED", False).eval()
    with pytest.raises(ConfigurationError, match="relation part"):
        ImageMemory(model, image())
