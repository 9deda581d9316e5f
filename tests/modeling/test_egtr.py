"""The meta-architecture as Detectron2 sees it."""

import logging

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from egtr import RELATION_HEAD_REGISTRY
from egtr.modeling import EGTR
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_cfg, small_model


def test_inference_returns_instances_and_a_graph():
    model = small_model().eval()
    inputs = [image(48, 64), image(40, 80)]
    inputs[0]["height"], inputs[0]["width"] = 96, 128
    results = model(inputs)
    for result, size in zip(results, [(96, 128), (40, 80)], strict=True):
        assert set(result) == {"instances", "scene_graph"}
        instances, graph = result["instances"], result["scene_graph"]
        assert instances.image_size == size == graph.image_size
        assert len(instances) == 6 * 5  # fewer than 100 (query, class)
        assert (instances.scores.diff() <= 0).all()
        prediction = graph.prediction
        assert prediction.relation.shape == (36, 4) and prediction.pairs.shape == (36, 2)
        # `query_index` is the query of each detection.
        np.testing.assert_allclose(
            instances.pred_boxes.tensor.numpy(), prediction.boxes[instances.query_index.numpy()], rtol=1e-5
        )
        scores = 1 / (1 + np.exp(-prediction.logits[instances.query_index, instances.pred_classes]))
        np.testing.assert_allclose(instances.scores.numpy(), scores, rtol=1e-4)
        assert len(graph) == 30 and (graph.triplets[:, 0] != graph.triplets[:, 1]).all()


def test_a_graph_triplet_scores_what_the_dense_tensors_say():
    model = small_model().eval()
    inputs = [image()]
    graph = model(inputs)[0]["scene_graph"]
    with torch.no_grad():
        output = model.network(model.preprocess_image(inputs))
    subject, obj, predicate = graph.triplets[0]
    score = output.relation_logits[0, subject, obj, predicate].sigmoid()
    score = score * output.connectivity_logits[0, subject, obj].sigmoid()
    best = output.logits[0].softmax(-1).amax(-1)
    assert float(score * best[subject] * best[obj]) == pytest.approx(float(graph.triplet_scores[0]), rel=1e-4)


def test_padding_changes_nothing_for_the_largest_image_and_little_else():
    """By itself and in a batch with a smaller image, the largest image gets the same output."""
    model = small_model().eval()
    small, large = image(48, 64), image(64, 96)
    with torch.no_grad():
        alone = model.network(model.preprocess_image([large]))
        both = model.network(model.preprocess_image([large, small]))
    torch.testing.assert_close(both.logits[:1], alone.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both.relation_logits[:1], alone.relation_logits, atol=1e-4, rtol=1e-4)


def test_training_returns_weighted_losses_and_logs_the_rest():
    model = small_model("MODEL.EGTR.AUX_LOSS", True).train()
    with EventStorage() as storage:
        losses = model([image(), image()])
        assert {"uncertainty", "cardinality_error", "rel_gate_0", "rel_gate_2"} <= set(storage.latest())
    assert set(losses) == {
        "loss_ce",
        "loss_bbox",
        "loss_giou",
        "loss_rel",
        "loss_connectivity",
        "loss_ce_0",
        "loss_bbox_0",
        "loss_giou_0",
    }
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_plain_detector():
    model = small_model("MODEL.EGTR.RELATION.ENABLED", False)
    assert set(model.train()([image()])) == {"loss_ce", "loss_bbox", "loss_giou"}
    assert set(model.eval()([image()])[0]) == {"instances"}


def test_frozen_detector_trains_the_relation_part_alone():
    model = small_model("MODEL.EGTR.FREEZE_DETECTOR", True, "MODEL.EGTR.BACKBONE.NORM", "BN").train()
    assert not model.backbone.training and not model.transformer.training and model.relation.training
    statistics = {name: value.clone() for name, value in model.backbone.named_buffers()}
    sum(model([image()]).values()).backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"relation"}
    for name, value in model.backbone.named_buffers():
        assert torch.equal(value, statistics[name]), name


def test_logit_adjustment_acts_at_inference_only():
    plain = small_model()
    adjusted = small_model("MODEL.EGTR.RELATION.LOGIT_ADJUSTMENT.ENABLED", True)
    adjusted.load_state_dict(plain.state_dict())
    for model in (plain, adjusted):
        model.relation.frequency_bias.predicate_frequency.copy_(torch.tensor([0.7, 0.1, 0.1, 0.1]))
    torch.manual_seed(1)
    inputs = [image()]
    with torch.no_grad():
        images = plain.preprocess_image(inputs)
        a, b = plain.eval().network(images), adjusted.eval().network(images)
        shift = (b.relation_logits - a.relation_logits)[0, 0, 0]
        torch.testing.assert_close(shift, -0.3 * torch.tensor([0.7, 0.1, 0.1, 0.1]).log(), atol=1e-5, rtol=0)
        for mode in (True, False):
            ours, theirs = plain.train(mode).losses(inputs)[0], adjusted.train(mode).losses(inputs)[0]
            assert float(ours["loss_rel"]) == float(theirs["loss_rel"])


def test_without_connectivity_head():
    model = small_model("MODEL.EGTR.RELATION.CONNECTIVITY_HEAD", "")
    assert "loss_connectivity" not in model.train()([image()])
    prediction = model.eval()([image()])[0]["scene_graph"].prediction
    assert (prediction.connectivity == 1).all()


@pytest.mark.parametrize("name", ["SumPairs", "HadamardPairs", "DotProductPairs"])
def test_every_pair_function_trains(name):
    model = small_model("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", name).train()
    sum(model([image()]).values()).backward()
    assert all(p.grad is not None for p in model.relation.parameters())


@pytest.mark.parametrize("options", [
    ("MODEL.EGTR.WITH_BOX_REFINE", True),
    ("MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.TWO_STAGE", True, "MODEL.EGTR.AUX_LOSS", True),
])  # fmt: skip
def test_detector_options_train(options):
    model = small_model(*options).train()
    losses = model([image(), image(56, 40)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if "MODEL.EGTR.TWO_STAGE" in options:
        assert "loss_ce_enc" in losses


def test_bfloat16_autocast_keeps_positions_and_losses_exact():
    """Boxes and losses are computed in float32; only features are rounded, which changes losses a little."""
    torch.manual_seed(0)
    model, inputs = small_model("MODEL.EGTR.BACKBONE.NORM", "BN").train(), [image(), image()]
    exact = model.losses(inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(inputs)[0]
        output = model.network(model.preprocess_image(inputs))
    assert output.logits.dtype == torch.bfloat16 and output.pred_boxes.dtype == torch.float32
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert float(value.detach()) == pytest.approx(float(exact[name].detach()), rel=0.05), name
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_relation_head_of_ones_own():
    """A head is chosen by its name, trained and used, without a change to the library."""

    @RELATION_HEAD_REGISTRY.register()
    class BilinearOfDense(nn.Module):
        def __init__(self, cfg, input_dim):
            super().__init__()
            self.linear = nn.Linear(input_dim, cfg.MODEL.EGTR.NUM_PREDICATES)

        def forward(self, pairs):
            return self.linear(pairs.dense().square())

    model = small_model("MODEL.EGTR.RELATION.HEAD", "BilinearOfDense")
    sum(model.train()([image()]).values()).backward()
    assert model.relation.relation_head.linear.weight.grad.abs().sum() > 0
    assert len(model.eval()([image()])[0]["scene_graph"]) == 30


def test_network_of_a_subclass_makes_the_predictions():
    """Without pruning, the relations of all pairs come from ``network``."""

    class Undecided(EGTR):
        def network(self, images):
            output = super().network(images)
            output.relation_logits.zero_()
            return output

    with pytest.raises(ConfigurationError, match=r"PRUNE_PAIRS is True, but Undecided has a network\(\) of its own"):
        Undecided(small_cfg())
    [result] = Undecided(small_cfg("MODEL.EGTR.RELATION.PRUNE_PAIRS", False)).eval()([image()])
    assert (result["scene_graph"].prediction.relation == 0.5).all()


def test_default_predictor_takes_a_bgr_array(tmp_path):
    cfg = small_cfg("INPUT.MIN_SIZE_TEST", 48, "INPUT.MAX_SIZE_TEST", 80)
    model = small_model()
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "weights.pth")
    cfg.DATASETS.TEST = ()
    array = np.random.RandomState(0).randint(0, 255, (60, 90, 3), dtype=np.uint8)
    result = DefaultPredictor(cfg)(array)
    assert result["scene_graph"].image_size == (60, 90)


@pytest.mark.parametrize(("options", "message"), [
    (("MODEL.EGTR.TWO_STAGE", True), "TWO_STAGE needs MODEL.EGTR.WITH_BOX_REFINE"),
    (("MODEL.EGTR.TRANSFORMER.HIDDEN_DIM", 40), "HIDDEN_DIM 40 must be a multiple of 32"),
    (("MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS", 2), "NUM_FEATURE_LEVELS 2 is less than the backbone's 3"),
    (("MODEL.EGTR.RELATION.HEAD", "Nothing"), "'Nothing' is not registered. Known: "),
    (("MODEL.EGTR.RELATION.CONNECTIVITY_HEAD", "Nothing"), "CONNECTIVITY_HEAD: 'Nothing' is not registered"),
    (("MODEL.EGTR.BACKBONE.NAME", "resnet_of_nobody"), "resnet_of_nobody"),
    (("MODEL.EGTR.BACKBONE.NORM", "LN"), "choose one of FrozenBN, BN"),
    (("MODEL.BACKBONE.FREEZE_AT", 9), "FREEZE_AT is 9, the backbone has"),
    (("MODEL.EGTR.FREEZE_DETECTOR", True, "MODEL.EGTR.RELATION.ENABLED", False), "leaves nothing to train"),
])  # fmt: skip
def test_contradictions_are_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        small_model(*options)


def test_objects_of_a_single_class_are_scored_by_sigmoid(caplog):
    with caplog.at_level(logging.INFO):
        model = build_model(small_cfg("MODEL.EGTR.NUM_CLASSES", 1)).eval()
    assert "OBJECT_SCORE auto: objects are scored by sigmoid" in caplog.text
    record = image(boxes=[], classes=[], relations=[])
    graph = model([record])[0]["scene_graph"]
    logits = torch.from_numpy(graph.prediction.logits)
    torch.testing.assert_close(torch.from_numpy(graph.scores), logits[:, 0].sigmoid())
    assert (graph.scores < 0.5).all()
    caplog.clear()
    options = ("MODEL.EGTR.NUM_CLASSES", 1, "TEST.SCENE_GRAPH.OBJECT_SCORE", "softmax")
    assert (build_model(small_cfg(*options)).eval()([record])[0]["scene_graph"].scores == 1).all()
    assert "gives every object score 1, since there is one class" in caplog.text


def test_objects_of_several_classes_are_scored_as_the_released_code_does(caplog):
    with caplog.at_level(logging.INFO):
        graph = small_model().eval()([image()])[0]["scene_graph"]
    logits = torch.from_numpy(graph.prediction.logits)
    torch.testing.assert_close(torch.from_numpy(graph.scores), logits.softmax(-1).max(-1).values)
    assert "OBJECT_SCORE" not in caplog.text
