import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from egtr.config import get_egtr_cfg
from egtr.engine import build_optimizer
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
