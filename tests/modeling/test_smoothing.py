"""Uncertainty of matches and smoothed targets, computed by hand."""

import math

import pytest
import torch

from egtr.config import get_egtr_cfg
from egtr.modeling import EGTROutput, HungarianMatcher, SetCriterion, Smoothing, Target
from egtr.modeling.criterion import build_criterion
from egtr.modeling.smoothing import CostSmoothing, FitSmoothing, QuantileSmoothing, build_smoothing
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model

WEIGHTS = dict.fromkeys(("loss_ce", "loss_bbox", "loss_giou", "loss_rel", "loss_connectivity"), 1.0)


def match_of_quality(probability, iou, side=0.3):
    """Cost and fit of a centred square inside the annotated square of this side; IoU and GIoU are the same."""
    logits = torch.tensor([[[math.log(probability / (1 - probability))]]])
    boxes = torch.tensor([[[0.5, 0.5, side * math.sqrt(iou), side * math.sqrt(iou)]]])
    target = Target(torch.zeros(1, dtype=torch.int64), torch.tensor([[0.5, 0.5, side, side]]), torch.zeros(0, 3))
    (match,) = HungarianMatcher()(logits, boxes, [target])
    return match


@pytest.mark.parametrize(("alpha", "expected"), [(1e-14, 0.0009), (1e-10, 0.90), (1e-6, 1.0)])
def test_good_match_is_uncertain_if_alpha_is_large(alpha, expected):
    """L1 is 2 * 0.3 * (1 - sqrt(0.9)); the cost 2 * (focal) + 5 * L1 - 2 * 0.9 is -4.44."""
    match = match_of_quality(0.9, 0.9)
    focal = 0.25 * 0.1**2 * -math.log(0.9) - 0.75 * 0.9**2 * -math.log(0.1)
    assert float(match.costs) == pytest.approx(2 * focal + 5 * 0.6 * (1 - math.sqrt(0.9)) - 1.8, abs=1e-4)
    smoothing = CostSmoothing(min_cost=HungarianMatcher().min_cost, alpha=alpha)
    assert float(smoothing(match.costs, match.fits)) == pytest.approx(expected, abs=5e-3 if alpha > 1e-12 else 5e-5)


def test_fit_is_probability_times_iou():
    match = match_of_quality(0.8, 0.5)
    assert float(match.fits) == pytest.approx(0.4, abs=1e-6)
    assert float(FitSmoothing()(match.costs, match.fits)) == pytest.approx(0.6, abs=1e-6)
    # Boxes apart have GIoU below 0, but u does not exceed 1.
    assert FitSmoothing()(torch.zeros(2), torch.tensor([0.0, 1.0])).tolist() == [1, 0]


def test_quantiles_follow_the_costs_and_travel_with_checkpoints():
    smoothing = QuantileSmoothing(low=0.5, high=1.0, momentum=0.75)
    costs, fits = torch.tensor([-4.0, -2.0, 2.0]), torch.zeros(3)
    # Before training: median -2, maximum 2; u is 0.1 and 0.5 there, and 1 / (1 + 9^1.5) half a width below.
    expected = [1 / (1 + 9**1.5), 0.1, 0.5]
    assert smoothing(costs, fits).tolist() == pytest.approx(expected, abs=1e-6)
    assert smoothing.quantiles.isnan().all()
    smoothing.observe(costs, fits)
    assert smoothing.quantiles.tolist() == [-2, 2]
    smoothing.observe(costs - 4, fits)
    assert smoothing.quantiles.tolist() == [-3, 1]
    # Nothing matched, and a diverged model, leave the past as it is.
    smoothing.observe(torch.zeros(0), torch.zeros(0))
    smoothing.observe(torch.full((2,), math.nan), torch.zeros(2))
    assert smoothing.quantiles.tolist() == [-3, 1]
    other = QuantileSmoothing(low=0.5, high=1.0)
    other.load_state_dict(smoothing.state_dict())
    assert other(torch.tensor([-3.0, 1.0]), fits[:2]).tolist() == pytest.approx([0.1, 0.5])
    assert other(torch.zeros(0), torch.zeros(0)).shape == (0,)


class HalfWeight(Smoothing):
    """Leaves targets at 1 and gives true triplets the weight 0.5."""

    def forward(self, costs, fits):
        return torch.zeros_like(costs)

    def targets(self, subjects, objects, matched):
        return torch.ones_like(subjects), torch.full_like(subjects, 0.5)


def test_weights_act_on_true_triplets_only():
    """Two queries, one predicate, all four entries: the true one has half the weight, the divisor stays 4."""
    boxes = torch.tensor([[[0.3, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]]])
    target = Target(torch.tensor([0, 1]), boxes[0], torch.tensor([[0, 1, 0]]))
    logits = torch.tensor([[[5.0, -5.0], [-5.0, 5.0]]])
    relation = torch.tensor([[[[0.3], [1.0]], [[-0.5], [0.2]]]])
    output = EGTROutput(logits, boxes, relation, None, [], [], [], None, torch.zeros(0))
    criterion = SetCriterion(matcher=HungarianMatcher(), weights=WEIGHTS, smoothing=HalfWeight(), k_neg=-1, k_non=-1)
    losses, _ = criterion.train()(output, [target])
    expected = [0.5 * math.log(1 + math.exp(-1)), *(math.log(1 + math.exp(x)) for x in (0.3, -0.5, 0.2))]
    assert float(losses["loss_rel"]) == pytest.approx(sum(expected) / 4, rel=1e-5)


def test_configuration_chooses():
    cfg, matcher = get_egtr_cfg(), HungarianMatcher()
    assert build_smoothing(cfg, matcher).alpha == 1e-14
    cfg.MODEL.EGTR.LOSS.SMOOTHING = "FitSmoothing"
    assert isinstance(build_criterion(cfg, None).relation_loss.smoothing, FitSmoothing)
    cfg.MODEL.EGTR.LOSS.SMOOTHING = "QuantileSmoothing"
    cfg.MODEL.EGTR.LOSS.SMOOTHING_QUANTILES = [0.9, 0.5]
    with pytest.raises(ConfigurationError, match=r"SMOOTHING_QUANTILES is \[0.9, 0.5\], it must be two shares"):
        build_smoothing(cfg, matcher)
    cfg.MODEL.EGTR.LOSS.SMOOTHING = "Paper"
    with pytest.raises(ConfigurationError, match="LOSS.SMOOTHING: 'Paper' is not registered. Known: CostSmoothing"):
        build_smoothing(cfg, matcher)


def test_training_logs_quantiles_of_uncertainty():
    from detectron2.utils.events import EventStorage

    model = small_model("MODEL.EGTR.LOSS.SMOOTHING", "FitSmoothing").train()
    with EventStorage() as storage:
        model([image()])
    low, middle, high = (storage.latest()[f"uncertainty_q{percent}"][0] for percent in (10, 50, 90))
    assert 0 < low <= middle <= high <= 1
