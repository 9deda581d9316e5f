"""Weights of one label set in a model of another: what starts from scratch, at which rate, and what the log says."""

import logging
import re

import pytest
import torch
from detectron2.modeling import build_model

from egtr.checkpoint import export_weights
from egtr.data import build_triplet_counts
from egtr.modeling.relation import FrequencyBias
from egtr.structures import EGTRError

# The tiny dataset has 5 classes and 4 predicates.
OTHER_LABELS = {"MODEL.EGTR.NUM_CLASSES": 9, "MODEL.EGTR.NUM_PREDICATES": 7}
HEADS = [
    "transformer.class_heads.0.weight",
    "transformer.class_heads.0.bias",
    "relation.relation_head.mlp.layers.2.weight",
    "relation.relation_head.mlp.layers.2.bias",
]


@pytest.fixture
def other_weights(make_cfg, tmp_path):
    """Weights for 9 classes and 7 predicates: file and state dict, the frequency table full of sevens."""
    model = build_model(make_cfg(OTHER_LABELS))
    model.relation.frequency_bias.table.fill_(7)
    export_weights(model, tmp_path / "other.pth")
    return str(tmp_path / "other.pth"), model.state_dict()


def test_what_depends_on_labels_starts_from_scratch(make_cfg, make_trainer, other_weights, caplog):
    path, weights = other_weights
    trainer = make_trainer(make_cfg({"MODEL.WEIGHTS": path, "DATASETS.TEST": (), "SOLVER.MAX_ITER": 1}))
    with caplog.at_level(logging.INFO):
        trainer.resume_or_load(resume=False)
    assert trainer.new_parameters == HEADS
    # BASE_LR 1e-3, NEW_MULTIPLIER 4. Of width 32: 5 classes and 4 predicates, with a bias each.
    (new,) = [group for group in trainer.optimizer.param_groups if group["name"] == "new"]
    assert new["initial_lr"] == pytest.approx(4e-3) and sum(p.numel() for p in new["params"]) == (5 + 4) * 33
    # Everything else is there, and the new class head knows no class, at the usual low confidence.
    state = trainer.bare_model.state_dict()
    kept = set(state) - set(HEADS) - {"relation.frequency_bias.table", "relation.frequency_bias.predicate_frequency"}
    assert len(kept) > 100 and all(torch.equal(state[name], weights[name]) for name in kept)
    torch.testing.assert_close(state[HEADS[1]], torch.full((5,), -4.59512))  # -log(99)

    (text,) = [record.getMessage() for record in caplog.records if "start from scratch" in record.getMessage()]
    assert "learning rate 0.004" in text
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[3:]]
    # The table stands for fvcore's own warnings.
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and "checkpoint" in r.name]
    assert rows == [
        [HEADS[0], "(5, 32)", "(9, 32)"],
        [HEADS[1], "(5,)", "(9,)"],
        [HEADS[2], "(4, 32)", "(7, 32)"],
        [HEADS[3], "(4,)", "(7,)"],
    ]

    # The frequency table is counted over the new training set, before the first step.
    trainer.train()
    bias = FrequencyBias(5, 4)
    bias.set_counts(torch.from_numpy(build_triplet_counts(trainer.cfg).dense()))
    torch.testing.assert_close(trainer.bare_model.relation.frequency_bias.table, bias.table)


def test_frozen_detector_without_its_class_heads_is_refused(make_cfg, make_trainer, other_weights):
    changes = {"MODEL.WEIGHTS": other_weights[0], "MODEL.EGTR.FREEZE_DETECTOR": True, "DATASETS.TEST": ()}
    trainer = make_trainer(make_cfg(changes))
    with pytest.raises(EGTRError, match=r"FREEZE_DETECTOR is True.*other\.pth lacks 2 parameters.*class_heads\.0"):
        trainer.resume_or_load(resume=False)


def test_frozen_detector_with_other_predicates_trains(make_cfg, make_trainer, tmp_path):
    export_weights(build_model(make_cfg({"MODEL.EGTR.NUM_PREDICATES": 7})), tmp_path / "other.pth")
    changes = {"MODEL.WEIGHTS": str(tmp_path / "other.pth"), "MODEL.EGTR.FREEZE_DETECTOR": True, "DATASETS.TEST": ()}
    trainer = make_trainer(make_cfg(changes))
    trainer.resume_or_load(resume=False)
    assert trainer.new_parameters == HEADS[2:]
