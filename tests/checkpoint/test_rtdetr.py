"""RT-DETR from disk: folders of FROSS, files of RT-DETR's authors. Hugging Face's are in test_parity_rtdetr.py."""

import json
import re

import pytest
import torch
from detectron2.modeling import build_model

from egtr.checkpoint import config_from_reference, load_reference
from egtr.cli import main
from egtr.config import load_config
from egtr.structures import EGTRError
from tests.checkpoint.artifacts import write_artifact
from tests.golden_cases import FOLDER, GoldenCase


@pytest.fixture(scope="module")
def case():
    return GoldenCase("rtdetr_small")


def config(name="rtdetr_small"):
    return json.loads((FOLDER / f"{name}.json").read_text())["config"]


def authors_weights(case):
    """The weights of the detector by the names of RT-DETR's authors."""
    prefix = "obj_det_model."
    return {n.removeprefix(prefix): v for n, v in case.reference_state_dict.items() if n.startswith(prefix)}


def first_version(weights):
    """The same as the first version of RT-DETR names them; points per level are not stored there."""
    changed = {}
    for name, value in weights.items():
        name = re.sub(r"(input_proj\.\d|enc_output)\.(?:conv|proj)\.", r"\1.0.", name)
        name = re.sub(r"(input_proj\.\d|enc_output)\.norm\.", r"\1.1.", name)
        if not name.endswith("num_points_scale"):
            changed[name] = value
    return changed


def build(cfg, weights):
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def equal_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_folder_of_fross(case, tmp_path):
    """The number of classes is not in its config.json."""
    write_artifact(tmp_path, case.record["config"], case.reference_state_dict)
    cfg, weights = load_reference(tmp_path)
    assert (cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES) == (12, 7)
    equal_weights(build(cfg, weights).state_dict(), case.model.state_dict())
    cfg.MODEL.DEVICE = case.cfg.MODEL.DEVICE
    assert cfg == case.cfg


def test_the_detector_of_a_folder_of_fross(case, tmp_path):
    weights = {n: v for n, v in case.reference_state_dict.items() if not n.startswith("egtr_head.")}
    write_artifact(tmp_path, case.record["config"], weights)
    cfg, state_dict = load_reference(tmp_path)
    assert not cfg.MODEL.EGTR.RELATION.ENABLED
    assert build(cfg, state_dict).relation is None


@pytest.mark.parametrize("version", [lambda weights: weights, first_version], ids=["v2", "v1"])
@pytest.mark.parametrize("wrap", [
    lambda weights, other: {"ema": {"module": weights, "updates": 3}},
    lambda weights, other: {"model": weights, "last_epoch": 71},
    lambda weights, other: {"model": other, "ema": {"module": weights, "updates": 3}},
], ids=["ema", "model", "both"])  # fmt: skip
@torch.no_grad()
def test_a_file_of_the_authors(case, tmp_path, version, wrap):
    weights = version(authors_weights(case))
    # Of the constants that the first images leave, no model needs any.
    weights |= {"decoder.anchors": torch.zeros(1, 252, 4), "decoder.valid_mask": torch.ones(1, 252, 1)}
    path = tmp_path / "rtdetrv2_r18vd.pth"
    torch.save(wrap(weights, {name: torch.zeros_like(value) for name, value in weights.items()}), path)
    cfg, state_dict = load_reference(path)
    egtr = cfg.MODEL.EGTR
    assert (egtr.NUM_CLASSES, egtr.NUM_QUERIES, egtr.TRANSFORMER.DEC_POINTS) == (12, 300, 4)
    assert (egtr.BACKBONE.NAME, egtr.TRANSFORMER.HYBRID_ENCODER.POSITION_ORDER) == ("resnet18d", "column_major")
    assert (egtr.LOSS.CLASS_LOSS, egtr.AUX_LOSS, egtr.RELATION.ENABLED) == ("varifocal", True, False)
    egtr.NUM_QUERIES = 24
    model = build(cfg, state_dict)
    logits = model.network(model.preprocess_image(case.inputs)).logits
    torch.testing.assert_close(logits, torch.as_tensor(case.arrays["logits"]), rtol=0, atol=1e-4)


def test_settings_that_weights_tell(case):
    """Unequal points, five blocks, a wide encoder and denoising are read from shapes and names."""
    from egtr.checkpoint.rtdetr_config import config_from_weights

    weights = authors_weights(case)
    found = config_from_weights(weights)
    assert found["presnet_freeze_norm"] and found["rt_detr_transformer_num_denoising"] == 0
    layer = "decoder.decoder.layers.0.cross_attn.num_points_scale"
    weights[layer] = torch.tensor([1 / 3] * 3 + [1 / 2] * 2 + [1.0])
    weights["decoder.denoising_class_embed.weight"] = torch.zeros(13, 64)
    weights["encoder.fpn_blocks.0.bottlenecks.4.conv1.conv.weight"] = torch.zeros(1)
    found = config_from_weights(weights)
    assert found["rt_detr_transformer_num_points"] == [3, 2, 1]
    assert found["rt_detr_transformer_num_denoising"] == 100
    assert found["hybrid_encoder_depth_mult"] == pytest.approx(4 / 3)
    cfg = config_from_reference(found)
    assert list(cfg.MODEL.EGTR.TRANSFORMER.DEC_POINTS_PER_LEVEL) == [3, 2, 1]
    assert cfg.MODEL.EGTR.DENOISING.ENABLED


@pytest.mark.parametrize("value", [0.0, 4.0, float("nan")])
def test_points_that_no_level_can_have(case, tmp_path, value):
    weights = authors_weights(case)
    layer = "decoder.decoder.layers.0.cross_attn.num_points_scale"
    torch.save({"model": weights | {layer: torch.full((12,), value)}}, tmp_path / "model.pth")
    with pytest.raises(EGTRError, match=r"num_points_scale must hold 1 / points of each level"):
        load_reference(tmp_path / "model.pth")


def test_the_middle_model_stops_early():
    """r50vd_m: a ResNet-50, narrow blocks, six layers."""
    from egtr.checkpoint.rtdetr_config import config_from_weights

    large = GoldenCase.__new__(GoldenCase)
    record = json.loads((FOLDER / "rtdetr_r50.json").read_text())
    large.reference_state_dict = {name: torch.empty(shape, device="meta") for name, shape, _ in record["state_dict"]}
    weights = authors_weights(large)
    scale = "decoder.decoder.layers.0.cross_attn.num_points_scale"
    weights[scale] = torch.full((12,), 0.25)
    found = config_from_weights(weights)
    assert (found["presnet_depth"], found["rt_detr_transformer_eval_idx"]) == (50, 2)


def test_settings_of_fross():
    cfg = config_from_reference(config("rtdetr_eval_early"))
    assert cfg.INPUT.PRE_RESIZE == []
    egtr = cfg.MODEL.EGTR
    assert (egtr.BACKBONE.NAME, egtr.BACKBONE.STAGE1_PROJECTION, egtr.BACKBONE.NORM) == (
        "resnet18d",
        True,
        "FrozenBN",
    )
    assert (egtr.TRANSFORMER.NAME, egtr.TRANSFORMER.EVAL_IDX) == ("RTDETRTransformer", 1)
    assert (egtr.LOSS.NEGATIVES_PER, egtr.LOSS.K_NEG, egtr.LOSS.CE_WEIGHT, egtr.MATCHER.COST_CLASS) == (
        "image",
        80,
        2,
        2,
    )
    assert egtr.LOSS.CLASS_LOSS == "focal" and not egtr.AUX_LOSS and not egtr.DENOISING.ENABLED
    points = config() | {"rt_detr_transformer_num_points": [4, 2, 2], "rt_detr_transformer_num_denoising": 60}
    egtr = config_from_reference(points).MODEL.EGTR
    assert list(egtr.TRANSFORMER.DEC_POINTS_PER_LEVEL) == [4, 2, 2]
    assert (egtr.DENOISING.ENABLED, egtr.DENOISING.NUM_QUERIES) == (True, 60)


@pytest.mark.parametrize(("change", "message"), [
    ({"presnet_depth": 26}, "presnet_depth 26 is not supported, only 18, 34, 50 and 101"),
    ({"presnet_depth": "18"}, "presnet_depth is '18', expected int"),
    ({"rt_detr_transformer_cross_attn_method": "discrete"}, "cross_attn_method 'discrete' is not supported"),
    ({"hybrid_encoder_use_encoder_idx": [1, 2]}, r"hybrid_encoder_use_encoder_idx \[1, 2\] is not supported"),
])  # fmt: skip
def test_settings_that_are_not_supported(change, message):
    with pytest.raises(EGTRError, match=message):
        config_from_reference(config() | change)


def test_other_files_need_a_folder(tmp_path):
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(EGTRError, match=r"other\.pth: only RT-DETR weights .* without config\.json"):
        load_reference(tmp_path / "other.pth")


def test_unknown_names_are_listed(case, tmp_path):
    weights = authors_weights(case) | {"decoder.surprise.weight": torch.zeros(1)}
    torch.save({"model": weights}, tmp_path / "model.pth")
    with pytest.raises(EGTRError, match=r"no RT-DETR checkpoint has: decoder\.surprise\.weight"):
        load_reference(tmp_path / "model.pth")


def test_a_backbone_of_another_kind(case, tmp_path):
    weights = {n: v for n, v in authors_weights(case).items() if not n.startswith("backbone.conv1")}
    torch.save({"model": weights}, tmp_path / "hgnet.pth")
    with pytest.raises(EGTRError, match="no RT-DETR on a ResNet-vd can be made"):
        load_reference(tmp_path / "hgnet.pth")


def test_the_command(case, tmp_path, capsys):
    torch.save({"ema": {"module": authors_weights(case)}}, tmp_path / "model.pth")
    assert main(["convert", str(tmp_path / "model.pth"), "--output", str(tmp_path / "new")]) == 0
    assert "config.yaml" in capsys.readouterr().out
    cfg = load_config(tmp_path / "new" / "config.yaml")
    assert cfg.MODEL.EGTR.TRANSFORMER.NAME == "RTDETRTransformer"
