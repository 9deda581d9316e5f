"""Parameters and operations, counted by hand where that can be done."""

import json
from dataclasses import replace

import pytest

from egtr.checkpoint import config_from_reference
from egtr.config import load_config
from egtr.experiments.model_cost import analyze_model, count_parameters
from egtr.hub.model_zoo import get_config_file
from tests.golden_cases import FOLDER
from tests.modeling.models import small_cfg


def by_name(parts):
    return {part.name: part for part in parts}


@pytest.fixture(scope="module")
def small():
    """The small model's parts, for an image of 64 x 64."""
    return analyze_model(small_cfg(), 64, 64)


def test_parts_add_up(small):
    parts = by_name(small)
    inner = ("backbone", "transformer", "relation")
    for field in ("parameters", "trained", "flops"):
        assert getattr(parts["total"], field) == sum(getattr(parts[name], field) for name in inner)
    relation = [part for name, part in parts.items() if name.startswith("relation.")]
    assert parts["relation"].parameters == sum(part.parameters for part in relation)
    # Class and predicate numbers of the small model: (5 + 1) * (5 + 1) * 4 scores and 4 frequencies, none trained.
    bias = parts["relation.frequency_bias"]
    assert (bias.parameters, bias.trained) == (6 * 6 * 4 + 4, 0)
    # 6 queries of the last layer, d = 64: Linear(64, 5), 5 biases.
    heads = parts["transformer.class_heads"]
    assert heads.parameters == 64 * 5 + 5
    assert heads.flops == 6 * 64 * 5


def test_operations_grow_with_the_image_and_parameters_do_not(small):
    small, large = by_name(small), by_name(analyze_model(small_cfg(), 128, 128))
    assert large["total"].parameters == small["total"].parameters
    # Convolutions: four times the pixels, four times the work.
    assert large["backbone"].flops == 4 * small["backbone"].flops
    assert large["transformer.class_heads"].flops == small["transformer.class_heads"].flops


def test_the_products_inside_attention_count():
    """DETR's encoder on a map of 2 x 3 cells (64 x 96 pixels, stride 32), d = 64, feed-forward width 96, 2 layers."""
    cfg = small_cfg("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer")
    parts = by_name(analyze_model(cfg, 64, 96))
    cells, dim, ffn, layers = 6, 64, cfg.MODEL.EGTR.TRANSFORMER.ENC_FFN_DIM, cfg.MODEL.EGTR.TRANSFORMER.ENC_LAYERS
    # Each cell with each: their product, and the value that it weighs. Four projections; two norms of fvcore's five
    # operations a number.
    attention = 2 * cells * cells * dim
    linear = 4 * cells * dim * dim + 2 * cells * dim * ffn
    assert parts["transformer.encoder"].flops == layers * (attention + linear + 2 * 5 * cells * dim)


def test_counting_only_parameters_says_the_same(small):
    assert count_parameters(small_cfg()) == [replace(part, flops=0) for part in small]


@pytest.mark.parametrize("name", ["small", "small_box_refine", "vg"])
def test_the_released_number_of_parameters(name):
    """The full model's 42.5 M and the small ones', as recorded from the released implementation."""
    record = json.loads((FOLDER / f"{name}.json").read_text())
    parts = count_parameters(config_from_reference(record["config"]))
    assert parts[0].parameters == record["params"]
    if name == "vg":
        assert round(parts[0].parameters / 1e6, 1) == 42.5


def test_the_recipe_has_as_many_up_to_its_frozen_norms():
    """Norms of `downsample` branches, ordinary in the released code, are frozen here: two numbers a channel.

    ResNet-50 has one at each of 4 stages, of 256, 512, 1024 and 2048 channels.
    """
    cfg = load_config(get_config_file("vg150_egtr.yaml"))
    released = json.loads((FOLDER / "vg.json").read_text())["params"]
    assert count_parameters(cfg)[0].parameters == released - 2 * (256 + 512 + 1024 + 2048)
