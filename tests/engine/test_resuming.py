"""A checkpoint of other parameters is refused before the first step; settings without effect are logged."""

from pathlib import Path

import pytest
import torch

from egtr.engine import EGTRTrainer
from egtr.structures import WeightsError
from tests.engine.stub import STUB

SHORT = {"SOLVER.MAX_ITER": 2, "SOLVER.CHECKPOINT_PERIOD": 2, "DATASETS.TEST": ()}
LAST = "model_final.pth"


def train(cfg) -> EGTRTrainer:
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def resume(cfg) -> EGTRTrainer:
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer


@pytest.fixture
def finished(make_cfg):
    """A function from changes to the configuration of a run that has made two steps."""

    def make(changes: dict):
        cfg = make_cfg(SHORT | changes)
        train(cfg)
        return cfg

    return make


def edit(cfg, change) -> None:
    """Change the content of the last checkpoint."""
    path = Path(cfg.OUTPUT_DIR, LAST)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def test_another_configuration(finished, make_cfg):
    """Fewer queries went on from random ones; more of them ended in a segmentation fault of fused AdamW."""
    cfg = finished({})
    queries = cfg.MODEL.EGTR.NUM_QUERIES
    assert queries > 2
    shape = rf"query_embed.weight has the shape \({queries}, \d+\) in it and "
    for changes, message in [
        ({"MODEL.EGTR.NUM_QUERIES": queries // 2}, rf"{shape}\({queries // 2}, \d+\) in the model\. Go on with"),
        ({"MODEL.EGTR.NUM_QUERIES": queries * 2}, rf"{shape}\({queries * 2}, \d+\) in the model\. Go on with"),
        ({"MODEL.EGTR.TRANSFORMER.DEC_FFN_DIM": 200}, r"linear1.weight has the shape .*linear2.weight has the shape"),
        ({"MODEL.EGTR.TRANSFORMER.ENC_LAYERS": 3}, r"encoder.layers.\d.\S* is missing in it; .*\(and \d+ more\)"),
        ({"MODEL.EGTR.RELATION.ENABLED": False}, r"the model has no relation\.\S*, which is in it"),
    ]:
        with pytest.raises(WeightsError, match="does not fit the model: .*" + message):
            resume(make_cfg(SHORT | changes))
    same = resume(make_cfg(SHORT | {"SOLVER.MAX_ITER": 4}))
    same.train()
    assert (same.start_iter, same.iter) == (2, 4)


def shrink_moments(content: dict) -> None:
    state = content["trainer"]["_trainer"]["optimizer"]["state"]
    state[0]["exp_avg"] = state[0]["exp_avg"][:1]


def drop_weight(content: dict) -> None:
    del content["model"]["relation.bias"]


def shrink_average(content: dict) -> None:
    content["trainer"]["hooks"]["EMAHook"]["model"]["relation.bias"] = torch.zeros(3)


def drop_average(content: dict) -> None:
    del content["trainer"]["hooks"]["EMAHook"]["model"]["norm.weight"]


def swap_names(content: dict) -> None:
    names = content["trainer"]["trained_parameters"]
    names[0], names[1] = names[1], names[0]


def rename_group(content: dict) -> None:
    content["trainer"]["_trainer"]["optimizer"]["param_groups"][0]["name"] = "head"


@pytest.mark.parametrize(("change", "message"), [
    (shrink_moments, r"moments of \S+: exp_avg has the shape \(1.*\) in it and \("),
    (drop_weight, "relation.bias is missing in it"),
    (shrink_average, r"averaged weight relation.bias has the shape \(3,\) in it and \(4,\) in the model"),
    (drop_average, "averaged weight norm.weight is missing in it"),
    (swap_names, r"it has moments of \S+ where the run trains \S+"),
    (rename_group, r"its optimizer has the groups head \(\d\), .*, the run's has \S+ \(\d\)"),
])  # fmt: skip
def test_another_checkpoint(finished, change, message):
    cfg = finished(STUB | {"SOLVER.EMA_DECAY": 0.9})
    edit(cfg, change)
    with pytest.raises(WeightsError, match="does not fit the model: " + message):
        resume(cfg)


def test_averages_may_begin_and_end(finished, make_cfg):
    finished(STUB)
    resume(make_cfg(SHORT | STUB | {"SOLVER.EMA_DECAY": 0.9, "SOLVER.MAX_ITER": 4})).train()
    resume(make_cfg(SHORT | STUB | {"SOLVER.MAX_ITER": 6})).train()


def test_other_frozen_parameters_of_the_same_shapes(finished, make_cfg):
    """Their groups have equal names and sizes: only the names of parameters tell them apart."""
    finished(STUB | {"SOLVER.LR_MULTIPLIERS": [["norm.weight", 0]]})
    with pytest.raises(WeightsError, match="it has moments of norm.bias where the run trains norm.weight"):
        resume(make_cfg(SHORT | STUB | {"SOLVER.LR_MULTIPLIERS": [["norm.bias", 0]]}))


def test_a_checkpoint_without_names_of_parameters(finished):
    cfg = finished(STUB)
    edit(cfg, lambda content: content["trainer"].pop("trained_parameters"))
    assert resume(cfg).start_iter == 2


@pytest.mark.parametrize(("changes", "message"), [
    ({"SOLVER.BASE_LR": 0.25}, "learning rate of base parameters: 0.01, not 0.25"),
    ({"SOLVER.BACKBONE_MULTIPLIER": 0.25}, "learning rate of backbone parameters: "),
    ({"SOLVER.WEIGHT_DECAY": 0.5}, "weight decay of base parameters: "),
    ({"SOLVER.NEW_PARAMETERS": ["relation.bias"]}, "SOLVER.NEW_PARAMETERS has no effect: relation.bias was not new"),
])  # fmt: skip
def test_settings_without_effect_are_logged(finished, make_cfg, changes, message, caplog):
    finished(STUB | {"SOLVER.BASE_LR": 0.01})
    more = SHORT | STUB | {"SOLVER.BASE_LR": 0.01, "SOLVER.MAX_ITER": 4}
    caplog.clear()
    same = resume(make_cfg(more))
    assert "no effect" not in caplog.text
    changed = resume(make_cfg(more | changes))
    assert message in caplog.text and "no effect" in caplog.text
    rates = [[group["initial_lr"] for group in t.optimizer.param_groups] for t in (same, changed)]
    assert rates[0] == rates[1]
