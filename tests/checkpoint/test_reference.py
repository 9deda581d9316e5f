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


@pytest.mark.parametrize(("change", "message"), [
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
