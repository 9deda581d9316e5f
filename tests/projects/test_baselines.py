"""The baselines of other families: costs and targets by hand, training and inference of tiny models."""

import math
from pathlib import Path

import pytest
import torch

from egtr.config import import_extensions, load_config
from egtr.engine import EGTRTrainer
from egtr.modeling import Target
from egtr.modeling.target import Match, join_matches
from tests.modeling.models import image, small_model

ROOT = Path(__file__).parents[2]
RTDETR = (
    "MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer", "MODEL.EGTR.BACKBONE.OUT_INDICES", [3, 4],
    "MODEL.EGTR.AUX_LOSS", True, "MODEL.EGTR.DENOISING.ENABLED", True,
)  # fmt: skip
KINDS = ("Relationformer", "RelTR")


def make(kind, *options):
    import_extensions([str(ROOT / "projects/Baselines/baselines/__init__.py")])
    return small_model(*RTDETR, "MODEL.META_ARCHITECTURE", kind, *options)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_predicts(kind):
    model = make(kind, "MODEL.EGTR.LOSS.SMOOTHING_ALPHA", 0.0).train()
    batch = [image(), image(40, 64)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.manual_seed(0)
    course = []
    for _ in range(25):
        losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        course.append({name: float(value.detach()) for name, value in losses.items()})
    for name in ("loss_rel", "loss_bbox", *(["loss_subject_bbox", "loss_object_bbox"] * (kind == "RelTR"))):
        assert course[-1][name] < 0.8 * course[0][name], name
    unused = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not unused
    results = model.eval()(batch)
    for result, record in zip(results, batch, strict=True):
        prediction = result["scene_graph"].prediction
        assert prediction.image_size == (record["height"], record["width"])
        assert prediction.relation.shape == ((36, 4) if kind == "Relationformer" else (12, 4))
        assert len(result["scene_graph"].triplets) and len(result["instances"])


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_relations_or_objects(kind):
    model = make(kind, "MODEL.EGTR.LOSS.SMOOTHING", "QuantileSmoothing").train()
    empty = image(boxes=(), classes=(), relations=())
    losses = model([empty])
    assert all(torch.isfinite(value) for value in losses.values())
    losses = model([image(relations=()), empty])
    sum(losses.values()).backward()
    assert model.criterion.relation_loss.smoothing.quantiles.isfinite().all() == (kind == "Relationformer")
    losses, _ = model.eval().losses([image()])
    assert all(torch.isfinite(value) for value in losses.values())


def test_targets_of_pairs_by_hand():
    """Objects 0, 1, 2 are queries 3, 0, 5, with u = 1 - fit = 0.1, 0.5, 0. Pair (0, 1) has two predicates."""
    model = make("Relationformer", "MODEL.EGTR.LOSS.SMOOTHING", "FitSmoothing")
    fits = torch.tensor([0.9, 0.5, 1.0])
    match = Match(torch.tensor([3, 0, 5]), torch.arange(3), torch.zeros(3), fits)
    relations = torch.tensor([[0, 1, 0], [0, 1, 2], [1, 2, 3]])
    wanted, weights = model.pair_targets(join_matches([match], [3]), relations, 3, torch.zeros(1, 6, 6, 5))
    # 0.9 * 0.5 = 0.45, half for each of two predicates; 0.5 * 1 for one.
    assert wanted[0, 3, 0].tolist() == pytest.approx([0.225, 0, 0.225, 0, 0.55])
    assert wanted[0, 0, 5].tolist() == pytest.approx([0, 0, 0, 0.5, 0.5])
    assert wanted[0, 0, 3].tolist() == [0, 0, 0, 0, 1] and wanted.sum() == pytest.approx(36)
    assert (weights == 1).all()


def test_relation_loss_by_hand():
    """Equal logits: each of the 6 ordered pairs of 3 matched queries costs log 5, whatever its target."""
    model = make("Relationformer").eval()
    record = image()
    targets = model._targets([record])
    output = model._network(model.preprocess_image([record]))
    losses = model.relation_losses(output, {"pairs": torch.zeros(1, 6, 6, 5)}, targets)
    assert float(losses["loss_rel"]) == pytest.approx(math.log(5), rel=1e-5)


def test_ends_point_to_detected_objects():
    """Equal attention gives the means; the decoder of the detector learns nothing from relations."""
    model = make("RelTR").eval()
    for pointer in model.pointers:
        torch.nn.init.zeros_(pointer.weight)
        torch.nn.init.zeros_(pointer.bias)
    record = image()
    images = model.preprocess_image([record])
    output = model._network(images)
    found = model.relations(output, images)
    for end in ("subject", "object"):
        assert found[f"{end}_logits"].shape == (1, 12, 5)
        torch.testing.assert_close(found[f"{end}_logits"], output.logits.mean(1, keepdim=True).expand(1, 12, 5))
        torch.testing.assert_close(found[f"{end}_boxes"], output.pred_boxes.mean(1, keepdim=True).expand(1, 12, 4))
    sum(model.relation_losses(output, found, model._targets([record])).values()).backward()
    assert all(weight.grad is None for weight in model.transformer.decoder.parameters())
    assert any(weight.grad is not None for weight in model.transformer.encoder.parameters())


def test_triplets_are_matched_as_a_whole():
    """Query 0 fits the ends of both triplets equally; only the predicate tells them apart."""
    model = make("RelTR")
    boxes = torch.tensor([[0.3, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]])
    target = Target(torch.tensor([0, 1]), boxes, torch.tensor([[0, 1, 0], [0, 1, 1]]))
    ends = {
        "subject_logits": torch.zeros(1, 2, 5), "object_logits": torch.zeros(1, 2, 5),
        "subject_boxes": boxes[:1].expand(1, 2, 4), "object_boxes": boxes[1:].expand(1, 2, 4),
    }  # fmt: skip
    predicates = torch.tensor([[[-1.0, 1.0, 0, 0], [1.0, -1.0, 0, 0]]])
    (subject,), (other,) = model.match({**ends, "predicates": predicates}, [target])
    assert subject.queries.tolist() == [0, 1] and subject.objects.tolist() == [1, 0]
    # Probability 0.5 and the same box: class 2 * (0.25 * 0.25 - 0.75 * 0.25) * log 2, L1 0, GIoU 1; no predicate.
    cost = 2 * (0.25 * 0.25 - 0.75 * 0.25) * math.log(2) - 2
    for match in (subject, other):
        assert match.costs.tolist() == pytest.approx([cost] * 2, abs=1e-5)
        assert match.fits.tolist() == pytest.approx([0.5] * 2)
    # A better box of the subject outweighs it: L1 0.4 costs 2, GIoU -0.5 costs 1 more than 0.
    far = torch.tensor([[0.3, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]])[None]
    single = Target(target.classes, boxes, target.relations[:1])
    (subject,), _ = model.match({**ends, "subject_boxes": far, "predicates": predicates}, [single])
    assert subject.queries.tolist() == [0]


def test_uncertainty_comes_from_the_ends_only():
    """Subject and object fit by 0.5 each, so the predicate's target is 0.25, whatever the predicate's own score."""
    model = make("RelTR", "MODEL.EGTR.LOSS.SMOOTHING", "FitSmoothing").eval()
    boxes = torch.tensor([[0.3, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]])
    target = Target(torch.tensor([0, 1]), boxes, torch.tensor([[0, 1, 0]]))
    for logit in (-2.0, 0.0, 3.0):
        predicates = torch.tensor([[[logit, -9.0, -9.0, -9.0]]])
        found = {
            "subject_logits": torch.zeros(1, 1, 5), "object_logits": torch.zeros(1, 1, 5),
            "subject_boxes": boxes[None, :1], "object_boxes": boxes[None, 1:], "predicates": predicates,
        }  # fmt: skip
        losses = model.relation_losses(None, found, [target])
        # Focal loss with alpha 0.25 and gamma 2 for the label 0.25; the others, of probability 1e-4, cost nothing.
        p, label = 1 / (1 + math.exp(-logit)), 0.25
        entropy = -label * math.log(p) - (1 - label) * math.log(1 - p)
        weight = 0.25 * label + 0.75 * (1 - label)
        expected = weight * (p + label - 2 * p * label) ** 2 * entropy
        assert float(losses["loss_rel"]) == pytest.approx(expected, rel=1e-4)
        assert float(losses["loss_subject_bbox"]) == float(losses["loss_object_giou"]) == 0


@pytest.mark.parametrize("name", ["relationformer", "reltr"])
def test_configurations(name):
    cfg = load_config(str(ROOT / f"projects/Baselines/configs/scenes_{name}.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE.lower() == name and cfg.MODEL.EGTR.RELATION.ENABLED


@pytest.mark.parametrize("name", ["relationformer", "reltr"])
def test_trainer_and_evaluator_take_them(name, make_tiny_dataset, tmp_path, without_plot):
    import_extensions([str(ROOT / "projects/Baselines/baselines/__init__.py")])
    cfg = load_config(str(ROOT / f"projects/Baselines/configs/scenes_{name}.yaml"))
    data = make_tiny_dataset(num_images=2, num_classes=18, num_predicates=15)
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "run"), "MODEL.EGTR.BACKBONE.PRETRAINED", False,
        "DATASETS.TRAIN", (data.train,), "DATASETS.TEST", (data.val,), "DATALOADER.NUM_WORKERS", 0,
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 1, "TEST.VALIDATION_LOSS", True,
        "INPUT.CROP.ENABLED", False, "INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MIN_SIZE_TEST", 96,
    ])  # fmt: skip
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert 0 <= results["sgdet"]["R@50"] <= 100 and "AP50" in results["bbox"]
    assert math.isfinite(results["validation"]["loss_rel"])
