"""Denoising queries: structure, noise and masks by hand, and against the independent ones of transformers."""

import pytest
import torch
from transformers.models.rt_detr.modeling_rt_detr import get_contrastive_denoising_training_group

from egtr.layers import box_cxcywh_to_xyxy, inverse_sigmoid
from egtr.modeling.denoising import Denoising
from egtr.modeling.target import Target
from egtr.modeling.transformer.box_queries import BoxQueries, make_box_queries
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model

NUM_CLASSES = 7
ON = (
    "MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.DENOISING.ENABLED", True,
    "MODEL.EGTR.DENOISING.NUM_QUERIES", 8, "MODEL.EGTR.AUX_LOSS", True,
)  # fmt: skip
# One- and two-stage Deformable DETR, and RT-DETR.
DETECTORS = {
    "learned queries": (),
    "two-stage": ("MODEL.EGTR.TWO_STAGE", True),
    "rt-detr": ("MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer"),
}
each_detector = pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)
WITH_RELATIONS = ("MODEL.EGTR.DENOISING.RELATIONS", True, "MODEL.EGTR.DENOISING.UNKNOWN_LABEL", 0.5)
EXACT = ("MODEL.EGTR.DENOISING.EXACT_SHARE", 1.0)


def draw_targets(*counts):
    generator = torch.Generator().manual_seed(0)
    targets = []
    for count in counts:
        boxes = torch.rand(count, 4, generator=generator) * 0.2 + torch.tensor([0.4, 0.4, 0.05, 0.05])
        classes = torch.randint(NUM_CLASSES, (count,), generator=generator)
        targets.append(Target(classes, boxes, torch.zeros(0, 3, dtype=torch.int64)))
    return targets


def draw(*counts, **options):
    targets = draw_targets(*counts)
    return targets, Denoising(NUM_CLASSES, **options)(targets)


def test_groups_and_positives_by_hand():
    """Two images with 2 and 1 objects, 5 queries wanted: 5 // 2 = 2 groups of 2 positive and 2 negative slots."""
    targets, drawn = draw(2, 1, num_queries=5, label_noise=0.0, box_noise=0.0)
    assert drawn.num_groups == 2 and drawn.num_slots == 2 and len(drawn.queries) == 8
    assert drawn.queries.groups.tolist() == [0] * 4 + [1] * 4
    assert drawn.queries.valid.tolist() == [[True] * 8, [True, False] * 4]
    positives = zip(*(part.tolist() for part in drawn.positives[:3]), strict=True)
    assert set(positives) == {(0, 0, 0), (0, 1, 1), (1, 0, 2), (0, 4, 0), (0, 5, 1), (1, 4, 2)}
    first, second = targets
    torch.testing.assert_close(drawn.queries.boxes[0], first.boxes.repeat(4, 1))
    assert drawn.queries.labels[0].tolist() == first.classes.tolist() * 4
    padding = drawn.queries.labels[1, 1::2]
    assert drawn.queries.labels[1, ::2].tolist() == second.classes.tolist() * 4 and (padding == NUM_CLASSES).all()


def test_noise_lies_in_its_range():
    """Corners move by 0 to 1 half sides for positive queries, by 1 to 2 for negative ones, in both directions."""
    torch.manual_seed(0)
    (target,), drawn = draw(4, num_queries=4000, box_noise=0.5)
    wanted = box_cxcywh_to_xyxy(target.boxes).repeat(2000, 1)
    moved = box_cxcywh_to_xyxy(drawn.queries.boxes[0]) - wanted
    share = (moved / (target.boxes[:, 2:].repeat(2000, 2) / 2 * 0.5)).view(1000, 2, 4, 4)
    positive, negative = share[:, 0], share[:, 1]
    assert 0 <= float(positive.abs().min()) < 0.01 and 0.99 < float(positive.abs().max()) <= 1.001
    assert 0.999 <= float(negative.abs().min()) < 1.01 and 1.99 < float(negative.abs().max()) <= 2.001
    for part in (positive, negative):
        assert 0.47 < float((part > 0).float().mean()) < 0.53
    # Half of LABEL_NOISE, and one random class in seven is the true one.
    changed = (drawn.queries.labels[0] != target.classes.repeat(2000)).float().mean()
    assert float(changed) == pytest.approx(0.25 * 6 / 7, abs=0.03)


def test_only_positive_queries_become_unknown():
    torch.manual_seed(0)
    _, drawn = draw(4, num_queries=4000, unknown_label=0.3)
    positive, negative = (drawn.queries.labels == NUM_CLASSES).view(1000, 2, 4).float().mean((0, 2))
    assert float(positive) == pytest.approx(0.3, abs=0.03) and float(negative) == 0


def test_exact_groups_are_what_prediction_makes_of_given_boxes():
    """The first group of the whole batch has no noise and no negative queries; the second one has both."""
    torch.manual_seed(0)
    targets, drawn = draw(2, 1, num_queries=4, label_noise=1.0, exact_share=1.0)
    queries = drawn.queries
    given = make_box_queries([t.boxes for t in targets], [t.classes for t in targets], NUM_CLASSES, "cpu")
    assert torch.equal(queries.boxes[:, :2], given.boxes) and torch.equal(queries.labels[:, :2], given.labels)
    assert torch.equal(queries.valid[:, :2], given.valid) and not queries.valid[:, 2:4].any()
    positives, negatives = queries.boxes[:, 4:6], queries.boxes[:, 6:]
    assert (positives != given.boxes)[given.valid].all() and (negatives != given.boxes)[given.valid].all()
    assert queries.valid[:, 4:].tolist() == [[True] * 4, [True, False] * 2]
    # Padding of a query sees only itself, so that the positive ones of an exact group see each other and no more.
    assert queries.attention_mask(0)[0, 0, 0].tolist() == [True, True] + [False] * 6


def test_exact_share_is_drawn_for_each_image():
    torch.manual_seed(0)
    targets, drawn = draw(*[2] * 1000, num_queries=4, unknown_label=0.5, label_noise=0.0, exact_share=0.3)
    exact = (drawn.queries.boxes[:, :2] == torch.stack([target.boxes for target in targets])).flatten(1)
    assert torch.equal(exact.any(1), exact.all(1)) and torch.equal(exact.all(1), ~drawn.queries.valid[:, 2])
    assert float(exact.all(1).float().mean()) == pytest.approx(0.3, abs=0.04)
    unknown = (drawn.queries.labels[:, :2] == NUM_CLASSES)[exact.all(1)]
    assert float(unknown.float().mean()) == pytest.approx(0.5, abs=0.06)


def test_without_exact_groups_seeded_runs_stay_as_they_were():
    """Signs, shares, random labels, exchanged and hidden ones are drawn in this order, and nothing else."""
    torch.manual_seed(5)
    draw(3, num_queries=6, unknown_label=0.5)
    after = torch.rand(1)
    torch.manual_seed(5)
    torch.rand(2, 12, 4)
    torch.randint(NUM_CLASSES, (12,))
    torch.rand(2, 12)
    assert torch.equal(torch.rand(1), after)


def test_negative_boxes_have_no_negative_side():
    torch.manual_seed(0)
    _, drawn = draw(4, num_queries=4000, box_noise=3.0)
    assert (drawn.queries.boxes >= 0).all() and (drawn.queries.boxes <= 1).all()


@pytest.mark.parametrize(("counts", "num_queries"), [((3, 3), 10), ((3, 1, 2), 12), ((5,), 2)])
def test_equals_transformers(counts, num_queries):
    """Without noise, boxes, labels, groups and masks are those of transformers; here padding is hidden besides."""
    targets, drawn = draw(*counts, num_queries=num_queries, label_noise=0.0, box_noise=0.0)
    records = [{"class_labels": target.classes, "boxes": target.boxes} for target in targets]
    embed = torch.nn.Embedding.from_pretrained(torch.arange(NUM_CLASSES + 1.0)[:, None])
    labels, boxes, mask, meta = get_contrastive_denoising_training_group(
        records, NUM_CLASSES, 6, embed, num_queries, label_noise_ratio=0.0, box_noise_scale=1e-9
    )
    valid = drawn.queries.valid
    assert meta["dn_num_group"] == drawn.num_groups and meta["dn_num_split"] == [len(drawn.queries), 6]
    assert torch.equal(labels[..., 0].long(), drawn.queries.labels)
    torch.testing.assert_close(inverse_sigmoid(drawn.queries.boxes)[valid], boxes[valid])
    for index, positive in enumerate(meta["dn_positive_idx"]):
        of_image = drawn.positives.images == index
        assert torch.equal(drawn.positives.queries[of_image], positive)
    seen = drawn.queries.attention_mask(6)[:, 0]
    known = torch.cat([valid, torch.ones(len(targets), 6, dtype=torch.bool)], dim=1)
    theirs = (mask == 0) & known[:, None, :] | torch.eye(seen.shape[-1], dtype=torch.bool)
    # The rows of padding may differ.
    assert torch.equal(seen[known], theirs[known])


def test_mask_by_hand():
    """Two groups of one query each, the second is padding; two queries of the detector."""
    one = torch.zeros(1, 2)
    queries = BoxQueries(one[..., None].expand(-1, -1, 4), one.long(), torch.tensor([[True, False]]), torch.arange(2))
    assert queries.attention_mask(2)[0, 0].int().tolist() == [
        [1, 0, 1, 1],
        [0, 1, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


def test_given_boxes_become_queries():
    boxes = [torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.3, 0.3, 0.1, 0.1]]), torch.zeros(0, 4)]
    queries = make_box_queries(boxes, [torch.tensor([3, -1]), None], NUM_CLASSES, "cpu")
    assert queries.valid.tolist() == [[True, True], [False, False]]
    assert queries.labels.tolist() == [[3, NUM_CLASSES], [NUM_CLASSES, NUM_CLASSES]]
    torch.testing.assert_close(queries.boxes[0], boxes[0])


@each_detector
def test_the_detector_finds_the_same_with_boxes_given_in_any_order(detector):
    model = small_model(*ON, *detector).eval()
    images = model.preprocess_image([image(), image(40, 60)])
    features, valid = model.backbone(images.tensor), torch.ones(2, *images.tensor.shape[-2:], dtype=torch.bool)
    valid[1, 40:] = valid[1, :, 60:] = False
    boxes, labels = torch.rand(3, 4) * 0.3 + 0.2, torch.tensor([1, -1, 4])
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        plain = model.transformer(features, valid)
        results = []
        for rows, classes in ((boxes, labels), (boxes[order], labels[order])):
            # The first image has padding, since the second has more boxes.
            queries = make_box_queries([rows[:1], rows], [None, classes], 5, "cpu")
            given, found = model.transformer(features, valid, queries).split(len(queries))
            torch.testing.assert_close(found.logits[-1], plain.logits[-1], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found.queries[-1], plain.queries[-1], rtol=1e-4, atol=1e-5)
            results.append(given)
        alone = model.transformer(
            {name: f[1:] for name, f in features.items()}, valid[1:], make_box_queries([boxes], [labels], 5, "cpu")
        )
    for name in ("logits", "pred_boxes", "queries", "keys"):
        first, second = (getattr(given, name)[-1][1] for given in results)
        torch.testing.assert_close(first[order], second, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(getattr(alone, name)[-1][0, :3], first, rtol=1e-4, atol=1e-5)


def denoising_losses(model, inputs):
    losses = model.train()(inputs)
    return {name: value for name, value in losses.items() if "_dn" in name}


@pytest.mark.parametrize("exact", [(), EXACT], ids=["noised", "exact"])
@each_detector
def test_every_layer_learns_from_denoising(detector, exact):
    model = small_model(*ON, *WITH_RELATIONS, *detector, *exact)
    inputs = [image(), image(boxes=[], classes=[], relations=[])]
    losses = denoising_losses(model, inputs)
    kinds = ("loss_ce", "loss_bbox", "loss_giou")
    wanted = {f"{kind}_dn{layer}" for kind in kinds for layer in ("", "_0")} | {"loss_rel_dn", "loss_connectivity_dn"}
    assert set(losses) == wanted
    sum(losses.values()).backward()
    assert model.transformer.label_embed.weight.grad.abs().sum() > 0
    if detector == ():
        assert model.transformer.box_position.weight.grad.abs().sum() > 0


@each_detector
def test_images_without_objects_train_the_same_parameters(detector):
    """Otherwise a process of distributed training without an object in its batch would stop the others."""
    model = small_model(*ON, *WITH_RELATIONS, *detector)

    def trained(inputs):
        model.zero_grad(set_to_none=True)
        losses = model.train()(inputs)
        assert all(torch.isfinite(value) for value in losses.values())
        sum(losses.values()).backward()
        return {name for name, p in model.named_parameters() if p.grad is not None}

    empty = trained([image(boxes=[], classes=[], relations=[])])
    assert empty == trained([image()]) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_losses_do_not_depend_on_the_other_images_of_the_batch():
    """Padding adds nothing: losses of both images are those of each, weighted with their 1 and 3 objects."""
    model = small_model(*ON, "MODEL.EGTR.DENOISING.LABEL_NOISE", 0.0, "MODEL.EGTR.DENOISING.BOX_NOISE", 0.0)
    few, many = image(boxes=[(4, 4, 24, 30)], classes=[0], relations=[]), image()

    def total(num_queries, *inputs):
        model.denoising.num_queries = num_queries
        return denoising_losses(model, list(inputs))

    # Always three groups, of one or three objects.
    first, second, both = total(3, few), total(9, many), total(9, few, many)
    for name, value in both.items():
        torch.testing.assert_close(value, (first[name] + 3 * second[name]) / 4, rtol=1e-4, atol=1e-6, msg=name)


def test_it_changes_nothing_in_evaluation_or_with_a_frozen_detector():
    model = small_model(*ON)
    assert not [name for name in model.eval().losses([image()])[0] if "_dn" in name]
    frozen = small_model(*ON[:-2], "MODEL.EGTR.FREEZE_DETECTOR", True)
    assert not denoising_losses(frozen, [image()])


@each_detector
def test_mixed_precision(detector):
    model = small_model(*ON, *WITH_RELATIONS, *detector, "MODEL.EGTR.BACKBONE.NORM", "BN").train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image(), image()])
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize(("options", "message"), [
    (("MODEL.EGTR.DENOISING.ENABLED", True), "DENOISING needs MODEL.EGTR.WITH_BOX_REFINE True"),
    ((*ON, "MODEL.EGTR.DENOISING.NUM_QUERIES", 0), "DENOISING.NUM_QUERIES is 0"),
    ((*ON, "MODEL.EGTR.DENOISING.UNKNOWN_LABEL", 1.5), "DENOISING.UNKNOWN_LABEL is 1.5"),
    ((*ON, "MODEL.EGTR.DENOISING.EXACT_SHARE", -0.1), "DENOISING.EXACT_SHARE is -0.1"),
    (
        ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer", "MODEL.EGTR.DENOISING.ENABLED", True),
        "DENOISING.ENABLED True needs MODEL.EGTR.TRANSFORMER.NAME",
    ),
])  # fmt: skip
def test_contradictions_are_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        small_model(*options)
