"""Explanations of relations: every number is compared with the model's own, or computed again by hand."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from egtr.layers import MultiScaleDeformableAttention
from egtr.modeling import RELATION_HEAD_REGISTRY
from egtr.modeling.explain import attention_weights, explain_triplets, source_names
from egtr.modeling.relation import MLPRelationHead
from egtr.structures import ConfigurationError, PredictionError
from tests.modeling.models import image, small_model

RELATION = "MODEL.EGTR.RELATION"
SOURCE = f"{RELATION}.SOURCE"
VARIANTS = {
    "paper": (),
    "one layer": (f"{SOURCE}.LAYERS", [1]),
    "by-products only": (f"{SOURCE}.LAST_HIDDEN_STATE", False),
    "last state only": (f"{SOURCE}.LAYERS", []),
    "no gate": (f"{SOURCE}.GATE", False),
    "no connectivity": (f"{RELATION}.CONNECTIVITY_HEAD", ""),
    "no frequency bias": (f"{RELATION}.FREQUENCY_BIAS", "none"),
    "logit adjustment": (f"{RELATION}.LOGIT_ADJUSTMENT.ENABLED", True),
    "sum": (f"{SOURCE}.PAIR_FUNCTION", "SumPairs"),
    "Hadamard": (f"{SOURCE}.PAIR_FUNCTION", "HadamardPairs"),
    "dot product": (f"{SOURCE}.PAIR_FUNCTION", "DotProductPairs"),
    "DETR": ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer"),
    "RT-DETR": ("MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer"),
    "RT-DETR, early end": ("MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer", "MODEL.EGTR.TRANSFORMER.EVAL_IDX", 0),
    "box refinement": ("MODEL.EGTR.WITH_BOX_REFINE", True),
    "two-stage": ("MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.TWO_STAGE", True),
    "sigmoid scores": ("TEST.SCENE_GRAPH.OBJECT_SCORE", "sigmoid"),
}
TRIPLETS = [(0, 3, 1), (3, 0, 1), (5, 2, 0)]


def make_model(*options):
    """A model with weights as large as trained ones, in training mode."""
    model = small_model(*options)
    for parameter in model.relation.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.set_relation_statistics(torch.randint(0, 9, (5, 5, 4)))
    return model


@torch.no_grad()
def network(model, record):
    model.eval()
    return model.network(model.preprocess_image([record]))


@pytest.mark.parametrize("name", VARIANTS)
def test_numbers_are_the_models_and_add_up(name):
    model, record = make_model(*VARIANTS[name]), image()
    explanations = explain_triplets(model, record, TRIPLETS)
    assert model.training
    output = network(model, record)
    graph = model([record])[0]["scene_graph"]
    scores, classes = graph.scores, graph.classes
    weights = attention_weights([q[0] for q in output.queries], [k[0] for k in output.keys], 4)
    assert weights.sum(-1).numpy() == pytest.approx(1, abs=1e-6)
    for (subject, object_, predicate), found in zip(TRIPLETS, explanations, strict=True):
        assert (found.subject.query, found.object.query, found.predicate_id) == (subject, object_, predicate)
        assert (found.subject.class_id, found.object.class_id) == (classes[subject], classes[object_])
        np.testing.assert_array_equal(found.object.box, graph.boxes[object_])
        assert found.logit == output.relation_logits[0, subject, object_, predicate].item()
        shares = (found.head_logit, found.frequency_bias, found.logit_adjustment)
        assert sum(shares) == pytest.approx(found.logit, abs=1e-5)
        assert found.contributions.sum() + found.constant == pytest.approx(found.head_logit, abs=1e-5)
        assert found.sources == tuple(source_names(model)) and len(found.contributions) == len(found.sources)

        table = model.relation.frequency_bias.table[classes[subject], classes[object_], predicate].item()
        assert found.frequency_bias == (0 if name == "no frequency bias" else pytest.approx(table))
        frequency = model.relation.frequency_bias.predicate_frequency[predicate].item()
        adjustment = -0.3 * np.log(frequency) if name == "logit adjustment" else 0
        assert found.logit_adjustment == pytest.approx(adjustment, abs=1e-6)
        if name == "no gate":
            assert found.gates is None
        else:
            np.testing.assert_array_equal(found.gates, output.gates[0, :, subject, object_])
        np.testing.assert_allclose(found.attention, weights[:, :, subject, object_], rtol=1e-6)
        np.testing.assert_allclose(found.attention_back, weights[:, :, object_, subject], rtol=1e-6)

        score = scores[subject] * scores[object_] * output.relation_logits[0, subject, object_, predicate].sigmoid()
        if name != "no connectivity":
            score = score * output.connectivity_logits[0, subject, object_].sigmoid()
        assert found.score == pytest.approx(score.item(), rel=1e-5)
        assert (found.connectivity is None) == (found.connectivity_logit is None) == (name == "no connectivity")
        assert (found.subject.points is None) == (name == "DETR")
        json.dumps(found.to_dict(), allow_nan=False)


def test_contributions_by_hand():
    model, record = make_model(), image()
    explanations = explain_triplets(model, record, TRIPLETS)
    output = network(model, record)
    part = model.relation
    first, second, third = part.relation_head.mlp.layers
    with torch.no_grad():
        pairs = part.source(output.queries, output.keys, output.hidden_states[-1])
        for (subject, object_, predicate), found in zip(TRIPLETS, explanations, strict=True):
            # Rows are sources: gate times [q; k].
            rows = torch.cat([pairs.subjects[0, :, subject], pairs.objects[0, :, object_]], dim=1)
            rows = pairs.gates[0, :, subject, object_, None] * rows
            hidden1 = first(rows.sum(0))
            hidden2 = second(hidden1.relu())
            # The sum of all sources decides which ReLUs are open; given these, each row passes on its own.
            through = (rows @ first.weight.T * (hidden1 > 0)) @ second.weight.T * (hidden2 > 0)
            expected = through @ third.weight[predicate]
            np.testing.assert_allclose(found.contributions, expected, atol=1e-5)
            biases = (first.bias * (hidden1 > 0)) @ second.weight.T + second.bias
            constant = (biases * (hidden2 > 0)) @ third.weight[predicate] + third.bias[predicate]
            assert found.constant == pytest.approx(constant.item(), abs=1e-5)


@pytest.mark.parametrize("name", ["paper", "no gate", "Hadamard", "dot product"])
def test_without_biases_there_is_no_constant(name):
    model = make_model(*VARIANTS[name])
    for layer in model.relation.relation_head.mlp.layers:
        nn.init.zeros_(layer.bias)
    for found in explain_triplets(model, image(), TRIPLETS):
        assert found.constant == pytest.approx(0, abs=1e-5)
        assert abs(found.contributions).max() > 1e-3


def read_by_hand(feature, x, y):
    """Sample a (D, H, W) map bilinearly at (x, y) in cells; centres lie at halves, and the outside is zero."""
    _, height, width = feature.shape
    total = np.zeros(len(feature))
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    for column in (left, left + 1):
        for row in (top, top + 1):
            if 0 <= column < width and 0 <= row < height:
                share = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
                total += share * feature[:, row, column]
    return total


@pytest.mark.parametrize("name", ["paper", "box refinement"])
def test_points_reproduce_cross_attention(name, monkeypatch):
    """Points are in pixels of an image of twice the size, which is padded for the model."""
    model = make_model(*VARIANTS[name])
    # 50 x 64 pixels become 64 x 64.
    monkeypatch.setattr(type(model.backbone), "size_divisibility", 32)
    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention):
            nn.init.normal_(module.sampling_offsets.weight, std=0.1)
            nn.init.normal_(module.attention_weights.weight, std=0.1)
    record = image(height=50, width=64) | {"height": 100, "width": 128}
    seen = []
    layers = [layer.cross_attn for layer in model.transformer.decoder.layers]
    handles = [layer.register_forward_hook(lambda _, args, out: seen.append((args[2:], out))) for layer in layers]
    (found,) = explain_triplets(model, record, [(4, 1, 0)])
    for handle in handles:
        handle.remove()
    # The explanation has removed its own hooks.
    assert not any(layer._forward_pre_hooks for layer in layers)
    assert found.subject.points.shape == (2, 4, 4, 4, 2)
    assert found.subject.point_weights.sum((2, 3)) == pytest.approx(1, abs=1e-5)
    for end in (found.subject, found.object):
        for index, layer in enumerate(layers):
            (memory, shapes, padding_mask), out = seen[index]
            with torch.no_grad():
                value = layer.value_proj(memory).masked_fill(padding_mask[..., None], 0)[0]
            maps = [part.T.numpy() for part in value.split([h * w for h, w in shapes])]
            attended = np.zeros((4, 16))
            for head, level, point in np.ndindex(4, 4, 4):
                height, width = shapes[level]
                cells = maps[level].reshape(4, 16, height, width)[head]
                x, y = end.points[index, head, level, point]
                # 2 pixels of the image are 1 pixel of the model's input.
                sample = read_by_hand(cells, x / 2 / 64 * width, y / 2 / 64 * height)
                attended[head] += end.point_weights[index, head, level, point] * sample
            with torch.no_grad():
                expected = layer.output_proj(torch.tensor(attended.ravel(), dtype=torch.float32))
            torch.testing.assert_close(out[0, end.query], expected, rtol=1e-4, atol=1e-5)


def test_inside_inference_mode():
    model, record = make_model(), image()
    (expected,) = explain_triplets(model, record, TRIPLETS[:1])
    with torch.inference_mode():
        (found,) = explain_triplets(model, record, TRIPLETS[:1])
    np.testing.assert_array_equal(found.contributions, expected.contributions)
    assert found.score == expected.score


def test_a_head_that_looks_at_other_pairs():
    @RELATION_HEAD_REGISTRY.register()
    class HeadOfAllPairs(MLPRelationHead):
        def forward(self, pairs):
            logits = super().forward(pairs)
            return logits + logits.sum((1, 2), keepdim=True)

    try:
        model = make_model(f"{RELATION}.HEAD", "HeadOfAllPairs")
        (found,) = explain_triplets(model, image(), TRIPLETS[:1])
    finally:
        del RELATION_HEAD_REGISTRY._obj_map["HeadOfAllPairs"]
    assert found.contributions is None
    assert found.constant == found.head_logit == pytest.approx(found.logit - found.frequency_bias)
    json.dumps(found.to_dict(), allow_nan=False)


def test_names():
    model, record = make_model(), image()
    classes, predicates = list("abcde"), list("wxyz")
    (plain,) = explain_triplets(model, record, TRIPLETS[:1])
    (named,) = explain_triplets(model, record, TRIPLETS[:1], classes, predicates)
    assert (plain.subject.name, plain.predicate) == (f"class {plain.subject.class_id}", "predicate 1")
    assert (named.subject.name, named.predicate) == (classes[plain.subject.class_id], "x")


@pytest.mark.parametrize("triplet", [(6, 0, 0), (0, -1, 0), (0, 1, 4)])
def test_a_triplet_that_is_none(triplet):
    with pytest.raises(PredictionError, match="the model has 6 queries and 4 predicates"):
        explain_triplets(make_model(), image(), [(0, 1, 0), triplet])


def test_no_triplets():
    assert explain_triplets(make_model(), image(), []) == []


def test_a_detector_alone():
    with pytest.raises(ConfigurationError, match="none can be explained"):
        explain_triplets(small_model(f"{RELATION}.ENABLED", False), image(), TRIPLETS)
