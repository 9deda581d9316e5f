"""Numbers about self-attention, from queries and keys whose attention is known."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from egtr.checkpoint import export_weights
from egtr.cli import main
from egtr.experiments.relation_analysis import (
    ImageRelations,
    auc,
    collect_relations,
    relations_of_output,
    summarize_relations,
)
from egtr.experiments.relation_plots import draw_attention_auc, draw_attention_maps, draw_gates, draw_uncertainty
from egtr.layers import QueryKeySelfAttention
from egtr.modeling import EGTROutput, HungarianMatcher, SetCriterion, Target
from egtr.modeling.explain import attention_weights, source_names
from tests.running import largest_file

BOXES = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.8, 0.2, 0.2, 0.2], [0.2, 0.8, 0.3, 0.3]])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 2, 3, 4], 1.0),
        ([4, 3, 2, 1], 0.0),
        ([7, 7, 7, 7], 0.5),
        # Of the four pairs of a positive with a negative: 3 > 1, 3 < 4, 5 > 1, 5 > 4.
        ([1, 4, 3, 5], 0.75),
        # 2 > 1, a tie with 2, 3 > 1, 3 > 2: three and a half of four.
        ([1, 2, 2, 3], 0.875),
    ],
)
def test_auc(scores, expected):
    labels = np.array([False, False, True, True])
    assert auc(np.array(scores), labels) == expected
    assert auc(np.array([scores, scores]), labels).tolist() == [expected, expected]


@pytest.mark.parametrize("label", [True, False])
def test_auc_needs_both_kinds(label):
    assert np.isnan(auc(np.arange(6.0).reshape(2, 3), np.full(3, label))).tolist() == [True, True]


def test_attention_weights_by_hand():
    # Two heads of width 4, so the products are halved. In head 0 query 0 has product 2 log 3 with key 0 and 0 with
    # key 1: the softmax of log 3 and 0 is 3/4 and 1/4. Everything else is 0: even weights.
    queries, keys = torch.zeros(2, 8), torch.zeros(2, 8)
    queries[0, 1], keys[0, 1] = 2 * math.log(3), 1
    weights = attention_weights([queries], [keys], num_heads=2)
    expected = torch.tensor([[[[0.75, 0.25], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]])
    torch.testing.assert_close(weights, expected)


def test_attention_weights_are_those_of_the_decoder():
    torch.manual_seed(0)
    layer = QueryKeySelfAttention(12, 3)
    x = torch.randn(1, 5, 12)
    out, queries, keys = layer(x, torch.randn(1, 5, 12))
    (weights,) = attention_weights([queries[0]], [keys[0]], num_heads=3)
    values = layer.v_proj(x)[0].unflatten(-1, (3, 4)).transpose(0, 1)
    torch.testing.assert_close(layer.out_proj((weights @ values).transpose(0, 1).flatten(1)), out[0])


def make_output(layers, boxes=BOXES, classes=(3, 1, 0, 2), gates=None, connectivity=None):
    """Make the output for one image whose query n finds class ``classes[n]`` in ``boxes[n]``.

    In layer l the attention of query i is the softmax of ``layers[l][i]``.
    """
    count = len(boxes)
    # With keys that pick a coordinate each, products are what the queries say, times 1/sqrt(count).
    keys = torch.eye(count)[None] * math.sqrt(count)
    return EGTROutput(
        logits=torch.full((1, count, 4), -5.0).scatter(2, torch.tensor(classes).view(1, -1, 1), 5.0),
        pred_boxes=boxes[None],
        relation_logits=None,
        connectivity_logits=connectivity,
        hidden_states=[],
        queries=[torch.as_tensor(layer, dtype=torch.float32)[None] for layer in layers],
        keys=[keys] * len(layers),
        gates=gates,
        memory=torch.zeros(1, 0, count),
    )


def make_target(objects, relations):
    """Objects are queries of ``make_output`` that will be matched to them."""
    return Target(
        classes=torch.tensor([(3, 1, 0, 2)[k] for k in objects], dtype=torch.int64),
        boxes=BOXES[list(objects)],
        relations=torch.tensor(relations, dtype=torch.int64).reshape(-1, 3),
    )


def relations(output, target, num_heads=1, image_id=1):
    weights = {"loss_ce": 1, "loss_bbox": 1, "loss_giou": 1, "loss_rel": 1, "loss_connectivity": 1}
    criterion = SetCriterion(matcher=HungarianMatcher(), weights=weights)
    return relations_of_output(output, target, criterion, num_heads, image_id=image_id, file_name="image.png")


@pytest.fixture
def known():
    """Objects 0, 1, 2 are queries 2, 0, 3; related are (0, 1) and (2, 0), in queries (2, 0) and (3, 2)."""
    high = np.zeros((4, 4))
    high[2, 0] = high[3, 2] = 2.0
    # The same relations seen from the object, (0, 2) and (2, 3).
    gates = torch.arange(32.0).view(1, 2, 4, 4) / 32
    output = make_output([high, -high, 0 * high, high.T], gates=gates, connectivity=torch.from_numpy(4 * high)[None])
    return relations(output, make_target((2, 0, 3), [(0, 1, 0), (0, 1, 2), (2, 0, 2)]))


def test_known_attention_has_known_auc(known):
    summary = summarize_relations([known], ["on", "under", "near"], ["layer 0", "last state"])
    counted = [summary[key] for key in ("num_images", "num_objects", "num_pairs", "num_related")]
    assert counted == [1, 3, 6, 2]
    # High for related pairs; low for them; the same for all; high where the object looks back at the subject.
    assert [row[0] for row in summary["attention"]["auc"][:3]] == [1.0, 0.0, 0.5]
    assert summary["attention"]["auc_reversed"][3] == [1.0]
    # From the subject that is 0.1 and 1/4 for the related pairs, and 0.71, 0.71, 0.1 and 1/4 for the others: of eight
    # comparisons one is won and two are ties (of numbers that may differ in their last bit).
    assert 1 / 8 <= summary["attention"]["auc"][3][0] <= 3 / 8
    assert summary["attention"]["auc_within_images"] == summary["attention"]["auc"]
    assert summary["others"]["connectivity"]["auc"] == 1.0


def test_order_of_objects_is_that_of_the_annotations(known):
    assert known.classes.tolist() == [0, 3, 2]
    assert known.triplets.tolist() == [[0, 1, 0], [0, 1, 2], [2, 0, 2]]
    np.testing.assert_allclose(known.boxes, BOXES[[2, 0, 3]])
    np.testing.assert_allclose(known.iou, 1, atol=1e-6)
    # Half of exp(2) against three others with exp(0).
    assert known.attention[0, 0, 0, 1] == pytest.approx(math.e**2 / (math.e**2 + 3))


def test_gates_by_predicate(known):
    gates = summarize_relations([known], ["on", "under", "near"], ["layer 0", "last state"])["gates"]
    assert gates["sources"] == ["layer 0", "last state"]
    # Entry (source, i, j) is (16 source + 4 i + j) / 32: 8 and 24 for queries (2, 0), 14 and 30 for (3, 2).
    assert gates["predicates"]["on"] == {"count": 1, "gates": [8 / 32, 24 / 32]}
    assert gates["predicates"]["near"] == {"count": 2, "gates": [11 / 32, 27 / 32]}
    assert gates["predicates"]["under"]["count"] == 0 and np.isnan(gates["predicates"]["under"]["gates"]).all()
    # Over pairs, not triplets: (2, 0) counts once.
    assert gates["related"] == [11 / 32, 27 / 32]
    # The other four: (0, 2), (0, 3), (2, 3), (3, 0) are 2, 3, 11, 12.
    assert gates["unrelated"] == [7 / 32, 23 / 32]


def test_images_are_ranked_together_and_one_by_one():
    high, other = np.zeros((4, 4)), np.zeros((4, 4))
    high[2, 0], other[0, 2] = 2.0, 9.0
    images = [
        relations(make_output([high]), make_target((2, 0), [(0, 1, 0)])),
        relations(make_output([other]), make_target((2, 0), [])),
    ]
    attention = summarize_relations(images, ["on"])["attention"]
    # The related pair has 0.71, the way back 1/4; in the image without relations the pairs have 1/4 and nearly 1.
    assert attention["auc"] == [[2 / 3]]
    # That image has nothing to be ranked first, so it is not in this mean.
    assert attention["auc_within_images"] == [[1.0]]


def test_nothing_to_measure():
    """Images without objects and without relations, and a model that is only a detector."""
    empty = relations(make_output([np.zeros((4, 4))]), make_target((), []))
    bare = relations(make_output([np.zeros((4, 4))]), make_target((1, 2), []))
    summary = summarize_relations([empty, bare], ["on"])
    assert (summary["num_objects"], summary["num_pairs"], summary["num_related"]) == (2, 2, 0)
    assert np.isnan(summary["attention"]["auc"]).all() and np.isnan(summary["others"]["closeness"]["auc"])
    assert summary["gates"] is None and summary["others"]["connectivity"] is None
    assert np.isnan(summary["uncertainty"]["spearman"])


def test_more_objects_than_queries():
    output = make_output([np.zeros((2, 2))], boxes=BOXES[:2], classes=(3, 1))
    image = relations(output, make_target((0, 3, 1), [(0, 1, 0), (0, 2, 1)]))
    # The object that nothing resembles drops out, with its relation; the third object becomes the second.
    assert image.classes.tolist() == [3, 1] and image.triplets.tolist() == [[0, 1, 1]]


def make_image(iou, uncertainty):
    count = len(iou)
    blank = np.zeros((count, count), dtype=np.float32)
    fields = {"image_id": 1, "file_name": "a.png", "triplets": np.array([[0, 1, 0]]), "gates": None}
    fields |= {"connectivity": None, "boxes": np.full((count, 4), 0.5), "classes": np.zeros(count, dtype=np.int64)}
    return ImageRelations(attention=blank[None, None], iou=np.array(iou), uncertainty=np.array(uncertainty), **fields)


def test_correlation_of_uncertainty():
    correlations = summarize_relations(
        [make_image([0.9, 0.5], [0.0, 0.2]), make_image([0.1, 0.8], [0.9, 0.1])], ["on"]
    )
    # Ranks of IoU 4, 2, 1, 3 and of uncertainty 1, 3, 4, 2: opposite.
    assert correlations["uncertainty"]["spearman"] == pytest.approx(-1)
    # Deviations (.325, -.075, -.475, .225) and (-.3, -.1, .6, -.2): -.42 / sqrt(.3875 * .5)
    assert correlations["uncertainty"]["pearson"] == pytest.approx(-0.42 / math.sqrt(0.3875 * 0.5))


def test_images(known, tmp_path):
    names = ["on", "costs $5 or $6", "near"]
    summary = summarize_relations([known], names, ["layer 0", "last state"])
    pixels = np.full((40, 60, 3), 200, dtype=np.uint8)
    bare = relations(make_output([np.zeros((4, 4))]), make_target((1,), []))
    empty = relations(make_output([np.zeros((4, 4))]), make_target((), []))
    without_smoothing = [make_image([0.9, 0.5], [0.0, 0.0])]
    figures = [
        draw_attention_auc(summary),
        draw_gates(summary["gates"]),
        draw_uncertainty([known], summary["uncertainty"]),
        draw_uncertainty(without_smoothing, {"spearman": math.nan, "pearson": math.nan}),
        draw_attention_maps(pixels, known, ["$a$", "b", "c", "d"], names),
        draw_attention_maps(pixels, bare, ["a", "b", "c", "d"], names),
        draw_attention_maps(pixels, empty, ["a", "b", "c", "d"], names),
    ]
    for figure in (*figures[2:4], *figures[5:]):
        # The others show that everything has its place; finding places is what takes long.
        figure.set_layout_engine("none")
    for number, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{number}.png", dpi=40)
        with Image.open(tmp_path / f"{number}.png") as written:
            # Neither blank nor a few lines.
            assert written.convert("RGB").getcolors(20) is None
    labels = [text.get_text() for text in figures[1].axes[0].get_yticklabels()]
    assert labels == ["all related pairs", "all other pairs", "near (2)", "on (1)"]
    frames = sum(len(axes.patches) + len(axes.artists) for axes in figures[4].axes[2:])
    # Two related pairs in each of four maps.
    assert frames == 8


def test_tool(make_cfg, tiny_dataset, tmp_path, capsys):
    cfg = make_cfg({"MODEL.WEIGHTS": str(tmp_path / "model.pth")})
    export_weights(build_model(cfg), cfg.MODEL.WEIGHTS)
    (tmp_path / "model.yaml").write_text(cfg.dump())
    arguments = [
        "analyze",
        "relations",
        "--config-file",
        str(tmp_path / "model.yaml"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*arguments, "--dataset", tiny_dataset.test, "--limit", "4"]) == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"analysis.json", "attention_auc.png", "gates.png", "uncertainty.png"} < files and len(files) == 5

    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    analysis = json.loads((tmp_path / "out/analysis.json").read_text(), parse_constant=no_constant)
    assert (analysis["dataset"], analysis["num_images"]) == (tiny_dataset.test, 4)
    # One decoder layer of two heads; sources are that layer and the last hidden state.
    assert np.shape(analysis["attention"]["auc"]) == (1, 2)
    assert analysis["gates"]["sources"] == ["layer 0", "last state"]
    assert list(analysis["gates"]["predicates"]) == list(tiny_dataset.predicate_classes)
    assert "AUC of attention" in capsys.readouterr().out
    # As on a full disk: the results of before stay.
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for room, name in ((10, "analysis.json"), (max(len(before["analysis.json"]), 5000), "attention_auc.png")):
        with largest_file(room):
            assert main([*arguments, "--dataset", tiny_dataset.test, "--limit", "4"]) == 1
        assert f"{name}: cannot be written (File too large)" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert main([*arguments, "--image-id", "no such"]) == 1
    assert "not among the 6 images" in capsys.readouterr().err


def test_detector_alone(make_cfg, tiny_dataset):
    cfg = make_cfg({"MODEL.EGTR.RELATION.ENABLED": False})
    model = build_model(cfg)
    images = collect_relations(cfg, model, tiny_dataset.test, 2)
    summary = summarize_relations(images, tiny_dataset.predicate_classes, source_names(model))
    assert summary["num_related"] == sum(image.related.sum() for image in images) > 0
    assert np.isfinite(summary["attention"]["auc"]).all()
    assert summary["gates"] is summary["others"]["connectivity"] is None
    # The model is left as it was.
    assert model.training


def test_source_names():
    source = SimpleNamespace(layers=[0, 2], last_hidden_state=True)
    assert source_names(SimpleNamespace(relation=SimpleNamespace(source=source), transformer=None)) == [
        "layer 0",
        "layer 2",
        "last state",
    ]
    source.last_hidden_state = False
    assert source_names(SimpleNamespace(relation=SimpleNamespace(source=source), transformer=None)) == [
        "layer 0",
        "layer 2",
    ]
    assert source_names(SimpleNamespace(relation=None)) == []
