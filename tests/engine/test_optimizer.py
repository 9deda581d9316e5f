import math

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from egtr.config.defaults import get_egtr_cfg
from egtr.engine import EGTRTrainer, build_optimizer
from egtr.engine.optimizer import freeze_parameters
from egtr.structures import EGTRError


class Toy(nn.Module):
    """Names as in the real model."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(1, 1)
        self.transformer = nn.ModuleDict(
            {
                "reference_points": nn.Linear(1, 1),
                "attention": nn.ModuleDict({"sampling_offsets": nn.Linear(1, 1), "value": nn.Linear(1, 1)}),
                # Holds "backbone" in its name, but is no part of the backbone.
                "after_backbone": nn.Linear(1, 1),
            }
        )
        self.relation = nn.Linear(1, 1)
        self.relation.bias.requires_grad_(False)


@pytest.fixture
def cfg():
    cfg = get_egtr_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.BACKBONE_MULTIPLIER, cfg.SOLVER.NEW_MULTIPLIER = 2e-6, 0.1, 100.0
    cfg.SOLVER.WEIGHT_DECAY = 1e-4
    return cfg


def rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def test_three_rates_by_name(cfg):
    model = Toy()
    new = ["relation.weight", "relation.bias", "transformer.attention.sampling_offsets.bias"]
    optimizer = build_optimizer(cfg, model, new)
    # The paper's rates: 2e-6, 2e-7, 2e-4. relation.bias is frozen and therefore absent; a new sampling offset learns
    # as fast as every new parameter.
    expected = {
        "backbone.weight": 2e-7,
        "backbone.bias": 2e-7,
        "transformer.reference_points.weight": 2e-7,
        "transformer.reference_points.bias": 2e-7,
        "transformer.attention.sampling_offsets.weight": 2e-7,
        "transformer.attention.sampling_offsets.bias": 2e-4,
        "transformer.attention.value.weight": 2e-6,
        "transformer.attention.value.bias": 2e-6,
        "transformer.after_backbone.weight": 2e-6,
        "transformer.after_backbone.bias": 2e-6,
        "relation.weight": 2e-4,
    }
    assert rates(model, optimizer) == pytest.approx(expected)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}


def test_nothing_is_new_from_scratch(cfg):
    model = Toy()
    assert rates(model, build_optimizer(cfg, model))["relation.weight"] == pytest.approx(2e-6)


def test_real_model_has_every_parameter_in_one_group(make_cfg):
    cfg = make_cfg()
    model = build_model(cfg)
    found = rates(model, build_optimizer(cfg, model))
    assert list(sorted(found)) == sorted(name for name, p in model.named_parameters() if p.requires_grad)
    slow = {name for name, rate in found.items() if rate == pytest.approx(1e-4)}
    assert {name for name in found if name.startswith("backbone.")} < slow
    others = {name for name in slow if not name.startswith("backbone.")}
    assert others and all("reference_points" in name or "sampling_offsets" in name for name in others)


def test_errors_name_key_and_remedy(cfg):
    model = Toy()
    cfg.SOLVER.OPTIMIZER = "SGD"
    with pytest.raises(EGTRError, match="SOLVER.OPTIMIZER is 'SGD'.*AdamW"):
        build_optimizer(cfg, model)
    cfg.SOLVER.OPTIMIZER = "AdamW"
    with pytest.raises(EGTRError, match="no trainable parameter.*FREEZE_DETECTOR"):
        build_optimizer(cfg, model.requires_grad_(False))


def test_rates_of_ones_own(cfg):
    model = Toy()
    cfg.SOLVER.LR_MULTIPLIERS = [["*sampling_offsets.weight", 0.5], ["transformer.*", 2], ["*.attention.*", 7.0]]
    new = ["relation.weight", "transformer.attention.value.bias"]
    # The first row that fits counts, also for new parameters; without one the rates are as ever: 2e-7 for the
    # backbone, 2e-4 for what is new.
    expected = {
        "backbone.weight": 2e-7,
        "backbone.bias": 2e-7,
        "transformer.reference_points.weight": 4e-6,
        "transformer.reference_points.bias": 4e-6,
        "transformer.attention.sampling_offsets.weight": 1e-6,
        "transformer.attention.sampling_offsets.bias": 4e-6,
        "transformer.attention.value.weight": 4e-6,
        "transformer.attention.value.bias": 4e-6,
        "transformer.after_backbone.weight": 4e-6,
        "transformer.after_backbone.bias": 4e-6,
        "relation.weight": 2e-4,
    }
    assert rates(model, build_optimizer(cfg, model, new)) == pytest.approx(expected)


def test_multiple_of_zero_freezes(cfg):
    model = Toy()
    cfg.SOLVER.LR_MULTIPLIERS = [["*.after_backbone.*", 1.0], ["transformer.*", 0], ["backbone.bias", 0.0]]
    frozen = freeze_parameters(cfg, model)
    trained = rates(model, build_optimizer(cfg, model))
    assert set(trained) == {
        "backbone.weight",
        "transformer.after_backbone.weight",
        "transformer.after_backbone.bias",
        "relation.weight",
    }
    # relation.bias was frozen before.
    assert set(frozen) | set(trained) | {"relation.bias"} == {name for name, _ in model.named_parameters()}
    assert not any(dict(model.named_parameters())[name].requires_grad for name in frozen)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["backbone", 0.1]], "no parameter fits the pattern 'backbone'; one is called 'backbone.weight'"),
        ([["backbone.*"]], r"LR_MULTIPLIERS: \['backbone.\*'\] is not \[pattern, multiple\]"),
        ([["backbone.*", "0.1"]], "is not"),
        ([["backbone.*", -1]], "0 or more"),
        (["backbone.*"], "is not"),
        ([["*", 0]], "no trainable parameter.*LR_MULTIPLIERS"),
    ],
)
def test_unusable_rates_of_ones_own(cfg, rows, message):
    model = Toy()
    cfg.SOLVER.LR_MULTIPLIERS = rows
    with pytest.raises(EGTRError, match=message):
        freeze_parameters(cfg, model)
        build_optimizer(cfg, model)


def rate_curve(cfg, name: str, **changes) -> list[float]:
    """The rate of each of ten iterations, as a multiple of BASE_LR."""
    cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.MAX_ITER = name, 10
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR, cfg.SOLVER.WARMUP_METHOD = 4, 0.2, "linear"
    for key, value in changes.items():
        cfg.SOLVER[key] = value
    model = Toy()
    optimizer = build_optimizer(cfg, model)
    scheduler = EGTRTrainer.build_lr_scheduler(cfg, optimizer)
    curve = []
    for _ in range(10):
        curve.append(rates(model, optimizer)["relation.weight"] / cfg.SOLVER.BASE_LR)
        # The backbone's rate stays a tenth of it.
        assert rates(model, optimizer)["backbone.weight"] == pytest.approx(0.1 * curve[-1] * cfg.SOLVER.BASE_LR)
        optimizer.step()
        scheduler.step()
    return curve


def test_warm_up_and_steps(cfg):
    # Four iterations from 0.2 to 1 in equal steps, then a tenth and a hundredth.
    expected = [0.2, 0.4, 0.6, 0.8, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert rate_curve(cfg, "WarmupMultiStepLR", STEPS=(6, 8), GAMMA=0.1) == pytest.approx(expected)


def test_warm_up_and_cosine(cfg):
    # Half a cosine over all ten iterations, of which the warm-up takes the first four: it rises to the cosine.
    cosine = [0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(10)]
    expected = [0.2 + (cosine[4] - 0.2) * k / 4 for k in range(4)] + cosine[4:]
    assert rate_curve(cfg, "WarmupCosineLR", BASE_LR_END=0.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "value"), [("LR_SCHEDULER_NAME", "Cosine"), ("STEPS", (10,)), ("STEPS", (6, 4)), ("BASE_LR_END", 1.0)]
)
def test_unusable_schedule(cfg, key, value):
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR" if key == "BASE_LR_END" else "WarmupMultiStepLR"
    cfg.SOLVER.MAX_ITER = 10
    cfg.SOLVER[key] = value
    with pytest.raises(EGTRError, match="SOLVER: LR_SCHEDULER_NAME.*STEPS.*MAX_ITER 10.*Take"):
        EGTRTrainer.build_lr_scheduler(cfg, build_optimizer(cfg, Toy()))
