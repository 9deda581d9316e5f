"""Weights with as many labels as the training set: names decide whether the heads are new."""

import logging

import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import save_file

from egtr.checkpoint import export_weights
from egtr.engine.label_names import check_names
from egtr.structures import ConfigurationError, ModelInfo, WeightsError
from egtr.structures.model_info import METADATA_KEY

CLASS_HEADS = ["transformer.class_heads.0.weight", "transformer.class_heads.0.bias"]
PREDICATE_HEADS = ["relation.relation_head.mlp.layers.2.weight", "relation.relation_head.mlp.layers.2.bias"]
HEADS = CLASS_HEADS + PREDICATE_HEADS


@pytest.fixture
def load(make_cfg, make_trainer, tiny_dataset, tmp_path, caplog):
    """A function from the names of the weights and configuration to trainer, loaded values and log."""

    def load(class_names=None, predicate_names=None, changes=None, beside=None):
        model = build_model(make_cfg(changes))
        path = tmp_path / "weights" / "weights.safetensors"
        export_weights(model, path, info=ModelInfo(class_names=class_names, predicate_names=predicate_names))
        if beside:
            (path.parent / "config.yaml").write_text(beside)
        torch.manual_seed(1)
        cfg = make_cfg({"MODEL.WEIGHTS": str(path), "DATASETS.TEST": ()} | (changes or {}))
        torch.manual_seed(1)
        trainer = make_trainer(cfg)
        with caplog.at_level(logging.INFO, "egtr"):
            trainer.resume_or_load(resume=False)
        return trainer, model.state_dict(), caplog.text

    return load


def kept(trainer, weights) -> set[str]:
    state = trainer.bare_model.state_dict()
    return {name for name in HEADS if torch.equal(state[name], weights[name])}


@pytest.mark.parametrize("beside", [True, False])
def test_names_of_a_model_beside_those_of_a_dataset(make_cfg, tiny_dataset, tmp_path, caplog, beside):
    """In MODEL.EGTR.CLASS_NAMES, or in the record of the weights."""

    def check(names, with_weights=True):
        caplog.clear()
        changes = {"MODEL.EGTR.CLASS_NAMES": names}
        if beside:
            save_file(
                {"a": torch.ones(1)},
                tmp_path / "a.safetensors",
                {METADATA_KEY: ModelInfo(class_names=names).to_json()},
            )
            changes = {"MODEL.WEIGHTS": str(tmp_path / "a.safetensors")}
        check_names(make_cfg(changes), [tiny_dataset.train], with_weights=with_weights)
        return caplog.text

    first, second, *rest = tiny_dataset.thing_classes
    assert check((first.upper(), second.replace(" ", "_"), *rest)) == ""
    with pytest.raises(ConfigurationError, match=f"class 0 is '{second}' in the model, but '{first}' in dataset"):
        check((second, first, *rest))
    assert f"class 1 is 'cup' in the model, but '{second}' in dataset" in check((first, "cup", *rest))
    if beside:
        assert check((second, first, *rest), with_weights=False) == ""
        with pytest.raises(WeightsError, match=r"nowhere\.pth: there is no such checkpoint\. Set MODEL\.WEIGHTS to"):
            check_names(make_cfg({"MODEL.WEIGHTS": "nowhere.pth"}), [tiny_dataset.train], with_weights=True)


def test_heads_of_other_names_start_from_scratch(load, tiny_dataset):
    trainer, weights, log = load(("cup", *tiny_dataset.thing_classes[1:]), ("on", "in", "by", "of"))
    assert trainer.new_parameters == HEADS
    # The bias of both heads starts as in every new model.
    assert not kept(trainer, weights) & {CLASS_HEADS[0], PREDICATE_HEADS[0]}
    # BASE_LR 1e-3, NEW_MULTIPLIER 4. Of width 32: 5 classes and 4 predicates, with a bias each.
    (new,) = [group for group in trainer.optimizer.param_groups if group["name"] == "new"]
    assert new["initial_lr"] == pytest.approx(4e-3) and sum(p.numel() for p in new["params"]) == (5 + 4) * 33
    assert "MODEL.WEIGHTS has other class names, such as 'cup' where the training set has 'thing0'" in log
    assert "MODEL.WEIGHTS has other predicate names, such as 'on'" in log and "learning rate 0.004" in log
    # Everything else is loaded.
    state = trainer.bare_model.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in set(state) - set(HEADS) if "frequency" not in name)


def test_only_the_heads_whose_names_differ_are_new(load, tiny_dataset):
    trainer, weights, _ = load(tiny_dataset.thing_classes, ("on", "in", "by", "of"))
    assert trainer.new_parameters == PREDICATE_HEADS
    assert kept(trainer, weights) >= set(CLASS_HEADS)


def test_heads_of_the_same_names_are_kept(load, tiny_dataset):
    """Upper case and underscores make no other name."""
    predicates = [name.upper().replace(" ", "_") for name in tiny_dataset.predicate_classes]
    trainer, weights, _ = load(tiny_dataset.thing_classes, tuple(predicates))
    assert trainer.new_parameters == [] and kept(trainer, weights) == set(HEADS)


def test_rows_of_names_in_another_order_are_moved(load, tiny_dataset):
    names = tiny_dataset.thing_classes
    trainer, weights, log = load((names[2], names[0], names[1], *names[3:]), tiny_dataset.predicate_classes)
    assert trainer.new_parameters == [] and "those of MODEL.WEIGHTS in another order: rows" in log
    loaded, now = weights[CLASS_HEADS[0]], trainer.bare_model.state_dict()[CLASS_HEADS[0]]
    torch.testing.assert_close(now, loaded[[1, 2, 0, 3, 4]], rtol=0, atol=0)
    assert kept(trainer, weights) >= set(PREDICATE_HEADS)


@pytest.mark.parametrize("two_stage", [False, True])
def test_embedded_labels_are_heads_too(load, tiny_dataset, two_stage):
    changes = {"MODEL.EGTR.WITH_BOX_REFINE": True, "MODEL.EGTR.TWO_STAGE": two_stage}
    changes |= {"MODEL.EGTR.DENOISING.ENABLED": True}
    trainer, weights, _ = load(tuple("abcde"), tiny_dataset.predicate_classes, changes)
    # The tiny model has one decoder layer; the encoder of two stages has a class head of its own.
    heads = {name for name in weights if "class_heads" in name or "label_embed" in name}
    assert len(heads) == 2 * (1 + two_stage) + 1 and set(trainer.new_parameters) == heads
    state = trainer.bare_model.state_dict()
    assert not any(torch.equal(state[name], weights[name]) for name in heads if name.endswith("weight"))


def test_shapes_decide_where_names_are_not_known_or_not_asked_for(load, tiny_dataset):
    trainer, weights, log = load(None, None)
    assert trainer.new_parameters == [] and kept(trainer, weights) == set(HEADS)
    assert "class names of MODEL.WEIGHTS or of the training set are not known: only shapes decide" in log
    trainer, weights, _ = load(tuple("abcde"), tuple("abcd"), {"SOLVER.NEW_PARAMETERS": "[]"})
    assert trainer.new_parameters == [] and kept(trainer, weights) == set(HEADS)


def test_names_of_the_configuration_beside_the_weights(load, tiny_dataset):
    beside = "MODEL: {EGTR: {NUM_CLASSES: 5, CLASS_NAMES: [a, b, c, d, e]}}"
    trainer, *_ = load(None, tiny_dataset.predicate_classes, beside=beside)
    assert trainer.new_parameters == CLASS_HEADS
