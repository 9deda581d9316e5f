"""Names and settings of released artifacts; that converted models compute the same is in test_golden.py."""

import json

import pytest
import torch

from egtr.checkpoint import config_from_reference, convert_state_dict
from egtr.structures import EGTRError
from tests.golden_cases import FOLDER, GoldenCase


@pytest.fixture(scope="module")
def case():
    return GoldenCase("small")


def config(name="small"):
    return json.loads((FOLDER / f"{name}.json").read_text())["config"]


def test_the_prefix_of_a_checkpoint_file_is_taken_off(case):
    prefixed = {f"model.{name}": value for name, value in case.reference_state_dict.items()}
    plain = convert_state_dict(case.reference_state_dict)
    assert convert_state_dict(prefixed).keys() == plain.keys() == case.model.state_dict().keys()


def test_unknown_names_are_refused(case):
    with pytest.raises(EGTRError, match="has the name 'surprise.weight'"):
        convert_state_dict({**case.reference_state_dict, "surprise.weight": torch.zeros(1)})


def test_copies_that_differ_are_refused(case):
    changed = dict(case.reference_state_dict)
    changed["class_embed.1.bias"] = changed["class_embed.1.bias"] + 1
    with pytest.raises(EGTRError, match="'class_embed.1.bias' should equal 'class_embed.0.bias'"):
        convert_state_dict(changed)


def test_settings_by_hand():
    cfg = config_from_reference(config("small_two_stage"))
    egtr = cfg.MODEL.EGTR
    assert (egtr.NUM_CLASSES, egtr.NUM_PREDICATES, egtr.NUM_QUERIES) == (11, 7, 24)
    assert (egtr.WITH_BOX_REFINE, egtr.TWO_STAGE, egtr.AUX_LOSS) == (True, True, True)
    assert (egtr.TRANSFORMER.ENC_LAYERS, egtr.TRANSFORMER.DEC_LAYERS) == (2, 3)
    assert (egtr.TRANSFORMER.ENC_POINTS, egtr.TRANSFORMER.DEC_POINTS) == (2, 3)
    assert (egtr.TRANSFORMER.ENC_FFN_DIM, egtr.TRANSFORMER.DEC_FFN_DIM) == (96, 80)
    assert not egtr.BACKBONE.FREEZE_DOWNSAMPLE_NORM
    assert (cfg.INPUT.PRE_RESIZE, cfg.INPUT.CROP.ENABLED) == ([400, 500, 600], False)
    detector = {key: value for key, value in config().items() if key != "num_rel_labels"}
    assert config_from_reference(detector).INPUT.PRE_RESIZE == []
    assert config_from_reference(config("small_smoothing")).MODEL.EGTR.LOSS.SMOOTHING_ALPHA == 3e-15
    assert config_from_reference(config("small_no_freq_bias")).MODEL.EGTR.RELATION.FREQUENCY_BIAS == "none"
    adjustment = config_from_reference(config("small_logit_adjustment")).MODEL.EGTR.RELATION.LOGIT_ADJUSTMENT
    assert adjustment.ENABLED and adjustment.TAU == 0.3


def test_variants_of_settings():
    released = config()
    loss = config_from_reference({
        **released, "rel_sample_negatives": None, "rel_sample_nonmatching_largest": False, "smoothing": None,
    }).MODEL.EGTR.LOSS  # fmt: skip
    assert (loss.K_NEG, loss.NEG_SAMPLING, loss.NON_SAMPLING, loss.SMOOTHING_ALPHA) == (-1, "hard", "random", 0.0)
    detector = {key: value for key, value in released.items() if key != "num_rel_labels"}
    assert not config_from_reference(detector).MODEL.EGTR.RELATION.ENABLED


def test_the_class_cost_is_the_weight_of_the_loss():
    """The released code saves class_cost 1 and never reads it."""
    full = config("small_full_config")
    assert full["class_cost"] == 1
    assert config_from_reference(full).MODEL.EGTR == config_from_reference(config()).MODEL.EGTR
    egtr = config_from_reference({**full, "ce_loss_coefficient": 3.5}).MODEL.EGTR
    assert (egtr.LOSS.CE_WEIGHT, egtr.MATCHER.COST_CLASS) == (3.5, 3.5)


@pytest.mark.parametrize(("class_cost", "expected"), [({}, 1.0), ({"class_cost": 1}, 1.0), ({"class_cost": 4}, 4.0)])
def test_the_class_cost_of_hugging_face(class_cost, expected):
    """Their Deformable DETR weighs loss_ce by 1."""
    released = {"ce_loss_coefficient", "class_cost", "num_rel_labels"}
    own = {key: value for key, value in config("small_full_config").items() if key not in released}
    egtr = config_from_reference({**own, **class_cost}).MODEL.EGTR
    assert (egtr.LOSS.CE_WEIGHT, egtr.MATCHER.COST_CLASS) == (1.0, expected)


@pytest.mark.parametrize("key", [
    "label2id", "dice_loss_coefficient", "mask_loss_coefficient", "eos_coefficient", "encoder_layerdrop",
    "decoder_layerdrop", "init_std", "init_xavier_std", "is_encoder_decoder", "max_position_embeddings",
    "transformers_version",
])  # fmt: skip
def test_keys_that_the_released_code_does_not_read(key):
    full = config("small_full_config")
    assert config_from_reference({**full, key: 0.5}) == config_from_reference(full)


@pytest.mark.parametrize(("key", "value", "ours"), [
    ("bbox_cost", 6, "MATCHER.COST_BBOX"),
    ("giou_cost", 6, "MATCHER.COST_GIOU"),
    ("bbox_loss_coefficient", 6, "LOSS.BBOX_WEIGHT"),
    ("giou_loss_coefficient", 6, "LOSS.GIOU_WEIGHT"),
    ("rel_loss_coefficient", 6, "LOSS.REL_WEIGHT"),
    ("connectivity_loss_coefficient", 90, "LOSS.CONNECTIVITY_WEIGHT"),
    ("focal_alpha", 0.5, "LOSS.FOCAL_ALPHA"),
    ("rel_sample_negatives", 6, "LOSS.K_NEG"),
    ("rel_sample_nonmatching", 6, "LOSS.K_NON"),
    ("rel_sample_negatives_largest", False, "LOSS.NEG_SAMPLING"),
    ("freq_bias_eps", 1e-3, "RELATION.FREQUENCY_BIAS_EPS"),
    ("use_log_softmax", True, "RELATION.FREQUENCY_BIAS"),
    ("logit_adj_tau", 0.5, "RELATION.LOGIT_ADJUSTMENT.TAU"),
    ("dropout", 0.5, "TRANSFORMER.DROPOUT"),
    ("auxiliary_loss", True, "AUX_LOSS"),
    ("num_queries", 6, "NUM_QUERIES"),
    ("backbone", "resnet34", "BACKBONE.NAME"),
])  # fmt: skip
def test_keys_that_the_released_code_reads(key, value, ours):
    """Each changes one key of ours, and no other."""
    full = config("small_full_config")
    before, after = (config_from_reference(c).MODEL.EGTR for c in (full, {**full, key: value}))
    *path, last = ours.split(".")
    changed, same = after, before
    for name in path:
        changed, same = changed[name], same[name]
    assert changed[last] != same[last]
    expected = {"NEG_SAMPLING": "random", "FREQUENCY_BIAS": "probability"}.get(last, value)
    assert changed[last] == expected
    changed[last] = same[last]
    assert after == before


def test_two_classes_without_names():
    """transformers leaves id2label away where it is its default: LABEL_0 and LABEL_1."""
    own = {key: value for key, value in config("small_full_config").items() if key not in ("id2label", "label2id")}
    assert config_from_reference(own).MODEL.EGTR.NUM_CLASSES == 2


def test_stages_of_newer_versions():
    nested = {"backbone_kwargs": {"out_indices": [3, 4]}}
    assert config_from_reference({**config(), **nested}).MODEL.EGTR.BACKBONE.OUT_INDICES == [3, 4]


@pytest.mark.parametrize(("change", "message"), [
    ({"attention_dropout": 0.2}, "attention_dropout is 0.2"),
    ({"activation_dropout": 0.2}, "activation_dropout is 0.2"),
    ({"focal_alpha": 0.5}, "focal_alpha is 0.5"),
])  # fmt: skip
def test_what_training_would_do_otherwise_is_logged(change, message, caplog):
    config_from_reference(config("small_full_config"))
    assert not caplog.records
    config_from_reference({**config("small_full_config"), **change})
    assert message in caplog.text


@pytest.mark.parametrize(("change", "message"), [
    ({"model_type": "detr"}, "model_type is 'detr'; only 'deformable_detr'"),
    ({"backbone_kwargs": {"output_stride": 16}}, "dilated last stage"),
    ({"encoder_attention_heads": 2}, "encoder_attention_heads and decoder_attention_heads differ"),
    ({"num_labels": "many"}, "num_labels is 'many', expected int"),
    ({"num_rel_labels": None}, "num_rel_labels is None, expected int"),
    ({"d_model": "64"}, "d_model is '64', expected int"),
    ({"smoothing": "none"}, "smoothing is 'none', expected int | float | None"),
    ({"id2label": ["cat"]}, r"id2label is \['cat'\], expected dict | None"),
    ({"activation_function": "gelu"}, "activation_function 'gelu' is not supported"),
])  # fmt: skip
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(EGTRError, match=message):
        config_from_reference({**config(), **change})


def test_a_missing_key_is_named():
    released = config()
    del released["num_queries"]
    with pytest.raises(EGTRError, match="'num_queries' is missing"):
        config_from_reference(released)
