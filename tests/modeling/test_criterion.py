"""Matching and losses, computed by hand on small cases, and compared with literal formulas."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.modeling import EGTROutput, HungarianMatcher, SetCriterion, Target
from egtr.modeling.detection_loss import sigmoid_focal_loss
from egtr.modeling.smoothing import CostSmoothing
from egtr.modeling.target import JoinedMatches
from egtr.structures import ConfigurationError

WEIGHTS = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0, "loss_rel": 15.0, "loss_connectivity": 30.0}


def make_criterion(smoothing_alpha=1e-14, **options):
    matcher = HungarianMatcher()
    smoothing = CostSmoothing(min_cost=matcher.min_cost, alpha=smoothing_alpha)
    return SetCriterion(matcher=matcher, weights=WEIGHTS, smoothing=smoothing, **options)


def make_output(logits, boxes, relation=None, connectivity=None):
    return EGTROutput(logits, boxes, relation, connectivity, [], [], [], None, torch.zeros(0))


def make_target(classes, boxes, relations=()):
    return Target(
        torch.tensor(classes, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(relations, dtype=torch.int64).reshape(-1, 3),
    )


def test_cost_by_hand():
    """Probability 0.5, boxes side by side: class 2 * (0.25 * 0.25 - 0.75 * 0.25) * ln 2, L1 0.2, GIoU 0."""
    target = make_target([0], [[0.3, 0.5, 0.2, 0.2]])
    cost = HungarianMatcher().cost_matrix(torch.zeros(1, 1, 1), torch.tensor([[[0.5, 0.5, 0.2, 0.2]]]), [target])
    # Boxes touch: IoU 0, hull 0.4 x 0.2 = union, GIoU 0.
    wanted = 2 * (0.25 * 0.25 - 0.75 * 0.25) * math.log(2) + 5 * 0.2 - 2 * 0
    assert float(cost) == pytest.approx(wanted, abs=1e-5)


def test_perfect_match_costs_the_minimum_and_is_alpha_uncertain():
    box = [[0.5, 0.5, 0.2, 0.2]]
    matcher = HungarianMatcher()
    cost = matcher.cost_matrix(torch.full((1, 1, 1), 30.0), torch.tensor([box]), [make_target([0], box)])
    assert float(cost) == pytest.approx(2 * 0.75 * math.log(1e-8) - 2, abs=1e-4)
    assert matcher.min_cost == pytest.approx(2 * 0.75 * math.log(1e-8) - 2)
    for alpha in (1e-14, 0.2):
        smoothing = CostSmoothing(min_cost=matcher.min_cost, alpha=alpha)
        uncertainty = smoothing(torch.tensor([matcher.min_cost]), torch.ones(1))
        assert float(uncertainty) == pytest.approx(alpha, rel=1e-3)
    assert float(CostSmoothing(min_cost=matcher.min_cost, alpha=0.0)(cost.flatten(), torch.ones(1))) == 0


def test_matching_is_the_best_assignment_even_with_more_objects_than_queries():
    boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    target = make_target([0, 0, 0], [[0.8, 0.8, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1], [0.2, 0.2, 0.1, 0.1]])
    match = HungarianMatcher()(torch.zeros(1, 2, 1), boxes[None], [target])[0]
    assert dict(zip(match.queries.tolist(), match.objects.tolist(), strict=True)) == {0: 2, 1: 0}


def test_images_of_a_batch_are_matched_each_by_itself():
    """An empty image and different numbers of objects: indices count from 0 in each image."""
    torch.manual_seed(0)
    logits, boxes = torch.randn(4, 5, 3), torch.rand(4, 5, 4) * 0.5 + 0.1
    targets = [
        make_target([index % 3] * count, torch.rand(count, 4).tolist()) for index, count in enumerate((2, 0, 7, 1))
    ]
    matcher = HungarianMatcher()
    matches = matcher(logits, boxes, targets)
    assert [len(match.queries) for match in matches] == [2, 0, 5, 1]
    for index, (match, target) in enumerate(zip(matches, targets, strict=True)):
        (single,) = matcher(logits[index : index + 1], boxes[index : index + 1], [target])
        assert match.queries.tolist() == single.queries.tolist() and match.objects.tolist() == single.objects.tolist()
        costs = matcher.cost_matrix(logits[index : index + 1], boxes[index : index + 1], [target])
        assert torch.equal(match.costs, costs[match.objects, match.queries])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_matched_last_and_makes_no_error(value):
    """Query 0 fits the object, but its box is not finite. Of two such queries one is matched, as its cost shows."""
    boxes = torch.tensor([[0.5, 0.5, 0.2, value], [0.1, 0.1, 0.1, 0.1]])
    target = make_target([0], [[0.5, 0.5, 0.2, 0.2]])
    match = HungarianMatcher()(torch.zeros(1, 2, 1), boxes[None], [target])[0]
    assert match.queries.tolist() == [1] and torch.isfinite(match.costs).all()
    match = HungarianMatcher()(torch.full((1, 2, 1), math.nan), boxes[None], [target])[0]
    assert len(match.queries) == 1 and not torch.isfinite(match.costs).all()


def test_focal_loss_by_hand():
    """p = 0.5: 0.25 * 0.5^2 * ln 2 where the label is 1, 0.75 * 0.5^2 * ln 2 where it is 0."""
    loss = sigmoid_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]), 0.25, 2.0)
    torch.testing.assert_close(loss, torch.tensor([0.25, 0.75]) * 0.25 * math.log(2))


def test_detection_losses_are_divided_by_the_number_of_objects():
    """Two queries, one class, p = 0.5 each; two objects that the boxes hit exactly, except for 0.1 in one x."""
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]])
    target = make_target([0, 0], [[0.3, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])
    losses, logged = make_criterion()(make_output(torch.zeros(1, 2, 1), boxes), [target])
    assert float(losses["loss_ce"]) == pytest.approx(2 * 0.25 * 0.25 * math.log(2) / 2)
    assert float(losses["loss_bbox"]) == pytest.approx(0.1 / 2, rel=1e-4)
    # Shifted by half its width: IoU 1/3, hull = union, GIoU 1/3.
    assert float(losses["loss_giou"]) == pytest.approx((1 - 1 / 3) / 2, rel=1e-4)
    # One class: the argmax of both queries is the last class, so 0 objects are counted instead of 2.
    assert float(logged["cardinality_error"]) == 2


def perfect(num_queries, classes, relations, predicates=2):
    """Queries 0, 1, ... hit the objects exactly; the others are far away, with low scores."""
    count = len(classes)
    boxes = torch.full((1, num_queries, 4), 0.05)
    for i in range(count):
        boxes[0, i] = torch.tensor([0.1 + 0.2 * i, 0.5, 0.1, 0.1])
    logits = torch.full((1, num_queries, 3), -9.0)
    for i, label in enumerate(classes):
        logits[0, i, label] = 9.0
    target = make_target(classes, boxes[0, :count].tolist(), relations)
    torch.manual_seed(0)
    relation = torch.randn(1, num_queries, num_queries, predicates)
    return make_output(logits, boxes, relation, torch.zeros(1, num_queries, num_queries)), [target]


def bce(logit, label):
    return math.log1p(math.exp(logit)) - label * logit


def test_relation_loss_over_chosen_entries_by_hand():
    """Three queries, two matched, one true triplet (0, 1, p1); one negative of each kind."""
    output, targets = perfect(3, [0, 1], [(0, 1, 1)])
    criterion = make_criterion(k_neg=1, k_non=1, smoothing_alpha=0.0).train()
    scores = output.relation_logits[0]
    matched = [scores[i, j, p] for i in (0, 1) for j in (0, 1) for p in (0, 1) if (i, j, p) != (0, 1, 1)]
    others = [scores[i, j, p] for i in range(3) for j in range(3) for p in (0, 1) if 2 in (i, j)]
    wanted = (bce(scores[0, 1, 1], 1) + bce(max(matched), 0) + bce(max(others), 0)) / 3
    assert float(criterion(output, targets)[0]["loss_rel"]) == pytest.approx(float(wanted), rel=1e-5)


def test_relation_loss_in_evaluation_mode_is_over_everything():
    output, targets = perfect(3, [0, 1], [(0, 1, 1)])
    losses, logged = make_criterion(smoothing_alpha=0.3).eval()(output, targets)
    costs = HungarianMatcher()(output.logits, output.pred_boxes, targets)[0].costs
    u = 1 / (1 + torch.exp(-(costs - HungarianMatcher().min_cost - math.log(1 / 0.3 - 1))))
    total = 0.0
    for i in range(3):
        for j in range(3):
            for p in range(2):
                label = float((1 - u[0]) * (1 - u[1])) if (i, j, p) == (0, 1, 1) else 0.0
                total += bce(float(output.relation_logits[0, i, j, p]), label)
    assert float(losses["loss_rel"]) == pytest.approx(total / 18, rel=1e-5)
    assert float(logged["uncertainty"]) == pytest.approx(float(u[0] * u[1]), rel=1e-5)
    # Connectivity logits are 0, so every pair costs ln 2, whether it is related or not.
    assert float(losses["loss_connectivity"]) == pytest.approx(math.log(2), rel=1e-5)


def test_no_relation_no_negatives():
    output, targets = perfect(3, [0, 1], [])
    output.relation_logits.requires_grad_()
    losses, logged = make_criterion().train()(output, targets)
    assert float(losses["loss_rel"].detach()) == 0 and float(logged["uncertainty"]) == 0
    losses["loss_rel"].backward()
    assert (output.relation_logits.grad == 0).all()


def test_negatives_of_an_image():
    """As many in each image, however many triplets it has: two with two triplets, and two with none."""
    output, targets = perfect(3, [0, 1], [(0, 1, 1), (1, 0, 0)])
    criterion = make_criterion(k_neg=1, k_non=1, smoothing_alpha=0.0, negatives_per="image").train()
    scores = output.relation_logits[0]
    true = {(0, 1, 1), (1, 0, 0)}
    inside = [scores[i, j, p] for i in (0, 1) for j in (0, 1) for p in (0, 1) if (i, j, p) not in true]
    others = [scores[i, j, p] for i in range(3) for j in range(3) for p in (0, 1) if 2 in (i, j)]
    negatives = bce(max(inside), 0) + bce(max(others), 0)
    wanted = (bce(scores[0, 1, 1], 1) + bce(scores[1, 0, 0], 1) + negatives) / 4
    assert float(criterion(output, targets)[0]["loss_rel"]) == pytest.approx(float(wanted), rel=1e-5)

    output, targets = perfect(3, [0, 1], [])
    scores = output.relation_logits[0]
    inside = [scores[i, j, p] for i in (0, 1) for j in (0, 1) for p in (0, 1)]
    others = [scores[i, j, p] for i in range(3) for j in range(3) for p in (0, 1) if 2 in (i, j)]
    wanted = (bce(max(inside), 0) + bce(max(others), 0)) / 2
    assert float(criterion(output, targets)[0]["loss_rel"]) == pytest.approx(float(wanted), rel=1e-5)


def test_no_objects_at_all():
    output, targets = perfect(3, [], [])
    losses, _ = make_criterion().train()(output, targets)
    assert all(torch.isfinite(value) for value in losses.values())
    assert float(losses["loss_bbox"]) == 0


def test_duplicate_triplets_count_once():
    output, once = perfect(4, [0, 1], [(0, 1, 1)])
    _, twice = perfect(4, [0, 1], [(0, 1, 1), (0, 1, 1)])
    criterion = make_criterion(k_neg=2, k_non=2).train()
    a, b = criterion(output, once)[0], criterion(output, twice)[0]
    assert float(a["loss_rel"]) == float(b["loss_rel"])


def test_relations_of_unmatched_objects_are_left_out():
    """Two queries for three objects: relations of the third object count nowhere."""
    output, targets = perfect(2, [0, 1], [])
    extra = make_target([0, 1, 2], [*targets[0].boxes.tolist(), [0.9, 0.1, 0.1, 0.1]], [(0, 1, 0), (0, 2, 1)])
    losses, _ = make_criterion(k_neg=0, k_non=0, smoothing_alpha=0.0).train()(output, [extra])
    assert float(losses["loss_rel"]) == pytest.approx(float(bce(output.relation_logits[0, 0, 1, 0], 1)), rel=1e-5)


def test_sampling_takes_everything_where_asked():
    """k = -1: mean over all entries, true and false, for hard and random sampling."""
    output, targets = perfect(4, [0, 1, 2], [(0, 1, 1), (2, 0, 0)])
    labels = torch.zeros(4, 4, 2)
    labels[0, 1, 1] = labels[2, 0, 0] = 1
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(output.relation_logits[0], labels)
    for sampling in ("hard", "random"):
        criterion = make_criterion(
            k_neg=-1, k_non=-1, smoothing_alpha=0.0, neg_sampling=sampling, non_sampling=sampling
        ).train()
        torch.testing.assert_close(criterion(output, targets)[0]["loss_rel"], wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.integers(0, 10**6))
def test_sampled_negatives_are_the_hardest_and_never_true(num_queries, num_triplets, k_neg, k_non, seed):
    """The fast index arithmetic equals three nested loops over (i, j, p)."""
    g = torch.Generator().manual_seed(seed)
    matched = torch.randperm(num_queries, generator=g)[: max(2, num_queries - 2)]
    entries = torch.unique(
        torch.stack(
            [
                matched[torch.randint(len(matched), (num_triplets,), generator=g)],
                matched[torch.randint(len(matched), (num_triplets,), generator=g)],
                torch.randint(3, (num_triplets,), generator=g),
            ],
            dim=1,
        ),
        dim=0,
    )
    scores = torch.randn(num_queries, num_queries, 3, generator=g)
    true = {tuple(e) for e in entries.tolist()}
    inside, outside = [], []
    for i in range(num_queries):
        for j in range(num_queries):
            for p in range(3):
                if i in matched.tolist() and j in matched.tolist():
                    if (i, j, p) not in true:
                        inside.append(float(scores[i, j, p]))
                else:
                    outside.append(float(scores[i, j, p]))
    wanted = sorted(inside, reverse=True)[: k_neg * len(true)] + sorted(outside, reverse=True)[: k_non * len(true)]
    is_true = torch.zeros(1, num_queries, num_queries, 3, dtype=torch.bool)
    is_true[0, entries[:, 0], entries[:, 1], entries[:, 2]] = True
    zeros = torch.zeros_like(matched)
    matches = JoinedMatches(zeros, matched, zeros, zeros.float(), zeros.float())

    def negatives(**options):
        return make_criterion(**options).relation_loss._negatives(scores[None], is_true, matches, len(true))

    got = scores[negatives(k_neg=k_neg, k_non=k_non)[0]]
    assert sorted(got.tolist()) == pytest.approx(sorted(wanted))
    assert torch.equal(negatives(neg_sampling="none", non_sampling="none"), ~is_true)


def relation_loss(**options):
    """loss_rel in training mode of one image with two objects, both matched without uncertainty, one triplet.

    Relation logits are 0 but for one false one of 2; one predicate in four triplets is the second one.
    """
    boxes = [[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]
    relation = torch.zeros(1, 2, 2, 2)
    relation[0, 1, 0, 1] = 2.0
    output = make_output(torch.full((1, 2, 1), 9.0), torch.tensor([boxes]), relation)
    output.predicate_frequency = torch.tensor([0.75, 0.25])
    criterion = make_criterion(smoothing_alpha=0.0, **options).train()
    return float(criterion(output, [make_target([0, 0], boxes, [[0, 1, 0]])])[0]["loss_rel"])


def softplus(x):
    return math.log1p(math.exp(x))


def test_relation_losses_by_hand():
    # One true entry of logit 0, one false one of 2, six false ones of 0: BCE is ln 2 at 0, softplus(2) at 2.
    assert relation_loss() == pytest.approx((7 * math.log(2) + softplus(2.0)) / 8, rel=1e-5)
    # Focal: alpha 0.25 for true, 0.75 for false, times (probability of the wrong answer)^2; over one true triplet.
    wrong = 1 / (1 + math.exp(-2.0))
    focal = 0.25 * 0.25 * math.log(2) + 0.75 * (6 * 0.25 * math.log(2) + wrong**2 * softplus(2.0))
    assert relation_loss(rel_loss="focal") == pytest.approx(focal, rel=1e-5)
    # Adjusted with tau 1: logits of predicate 0 gain ln 0.75, of predicate 1 ln 0.25.
    first, second = math.log(0.75), math.log(0.25)
    adjusted = softplus(-first) + 3 * softplus(first) + 3 * softplus(second) + softplus(2 + second)
    assert relation_loss(rel_loss="logit_adjusted") == pytest.approx(adjusted / 8, rel=1e-5)
    assert relation_loss(rel_loss="logit_adjusted", rel_loss_tau=0.0) == pytest.approx(relation_loss(), rel=1e-6)


def test_without_sampling_a_flood_of_easy_negatives_counts():
    # k_neg 1: only the true entry and the one hardest negative.
    assert relation_loss(k_neg=1) == pytest.approx((math.log(2) + softplus(2.0)) / 2, rel=1e-5)
    assert relation_loss(k_neg=1, neg_sampling="none") == pytest.approx(relation_loss(k_neg=-1), rel=1e-6)


def test_every_loss_has_a_weight():
    """Earlier layers and proposals have the weights of the last layer; a task's name may end with a number."""
    tasks = {"part_2": SimpleNamespace(weight=0.5)}
    criterion = make_criterion(aux_layers=1, tasks=tasks)
    names = ["loss_ce_0", "loss_giou_enc", "loss_rel", "loss_part_2"]
    weighted = criterion.weighted({name: torch.tensor(1.0) for name in names})
    assert {name: float(value) for name, value in weighted.items()} == dict(zip(names, (2, 2, 15, 0.5), strict=True))


def test_bad_settings_are_refused():
    with pytest.raises(ConfigurationError, match="NEG_SAMPLING is 'soft'"):
        make_criterion(neg_sampling="soft")
    with pytest.raises(ConfigurationError, match="NEGATIVES_PER is 'batch', choose one of triplet, image"):
        make_criterion(negatives_per="batch")
    with pytest.raises(ConfigurationError, match="REL_LOSS is 'hinge', choose one of bce"):
        make_criterion(rel_loss="hinge")
    with pytest.raises(ConfigurationError, match="NORMALIZER is 'batch', choose one of global, process"):
        make_criterion(normalizer="batch")
    with pytest.raises(ConfigurationError, match="SMOOTHING_ALPHA is 1.5"):
        make_criterion(smoothing_alpha=1.5)
