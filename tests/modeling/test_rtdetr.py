"""RT-DETR's parts and settings; test_golden_rtdetr.py and test_parity_rtdetr.py compare whole models."""

import pytest
import torch
import torch.nn.functional as F

from egtr.config import get_egtr_cfg
from egtr.modeling.backbone import TimmBackbone
from egtr.modeling.transformer.hybrid_encoder import CSPBlock, HybridEncoder, RepVGGBlock
from egtr.modeling.transformer.rtdetr_transformer import valid_share
from egtr.structures import ConfigurationError
from tests.layers.test_conv_norm import randomized
from tests.modeling.models import image, small_cfg, small_model

RTDETR = [
    "MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer",
    "MODEL.EGTR.BACKBONE.NAME", "resnet18d", "MODEL.EGTR.BACKBONE.LAYERS", [1, 1, 1, 1],
    "MODEL.EGTR.BACKBONE.STAGE1_PROJECTION", True,
    "MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], "MODEL.PIXEL_STD", [255.0, 255.0, 255.0],
]  # fmt: skip


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_folded_branches_are_exact():
    """Two branches with norms against one convolution, in float64."""
    block = randomized(RepVGGBlock(6)).double().eval()
    x = randn(2, 6, 5, 4)
    branches = [branch.norm(branch.conv(x)) for branch in (block.conv3x3, block.conv1x1)]
    torch.testing.assert_close(block(x), F.silu(sum(branches)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("expansion", [0.5, 1.0])
def test_block_by_its_formula(expansion):
    """conv3(blocks(conv1(x)) + conv2(x)); without conv3 where the widths agree."""
    block = randomized(CSPBlock(4, expansion, 2)).double().eval()
    first, second = randn(1, 4, 3, 3), randn(1, 4, 3, 3).flip(-1)

    def conv(unit, x):
        return F.silu(unit.norm(unit.conv(x)))

    x = torch.cat([first, second], dim=1)
    y = conv(block.conv1, x)
    for inner in block.blocks:
        y = F.silu(sum(branch.norm(branch.conv(y)) for branch in (inner.conv3x3, inner.conv1x1)))
    y = y + conv(block.conv2, x)
    has_conv3 = any(name.startswith("conv3.") for name, _ in block.named_parameters())
    assert has_conv3 == (expansion != 1.0)
    torch.testing.assert_close(block(first, second), conv(block.conv3, y) if has_conv3 else y)


@pytest.mark.parametrize(("depth_mult", "number"), [(1.0, 3), (2.0, 6), (0.67, 2), (0.0, 0)])
def test_number_of_blocks(depth_mult, number):
    encoder = HybridEncoder([8, 8, 8], 8, num_heads=2, ffn_dim=8, depth_mult=depth_mult)
    blocks = [*encoder.top_down_blocks, *encoder.bottom_up_blocks]
    assert len(blocks) == 4 and all(len(block.blocks) == number for block in blocks)


@pytest.mark.parametrize(("setting", "message"), [
    ({"position_order": "rows"}, "POSITION_ORDER is 'rows', choose one of row_major, column_major"),
    ({"num_heads": 3}, "DIM 8 must be a multiple of 4 .* and of NHEADS 3"),
    ({"expansion": 0.0}, "EXPANSION 0.0 must be positive"),
])  # fmt: skip
def test_settings_of_the_encoder(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        HybridEncoder([8, 8, 8], 8, **{"num_heads": 2, **setting})


def test_maps_keep_their_sizes():
    encoder = HybridEncoder([3, 5, 7], 8, num_heads=2, ffn_dim=8).eval()
    maps = [torch.randn(2, width, 16 // k, 8 // k) for width, k in ((3, 1), (5, 2), (7, 4))]
    assert [tuple(x.shape) for x in encoder(maps)] == [(2, 8, 16, 8), (2, 8, 8, 4), (2, 8, 4, 2)]


def test_only_the_first_block_gets_a_projection():
    """The others of stage 1 add their input as it is; without the switch timm's network stays as it is."""
    backbone = TimmBackbone("resnet18d", stage1_projection=True, freeze_at=0)
    first, second = backbone.model.layer1
    assert first.downsample[1].weight.shape == (64, 64, 1, 1) and second.downsample is None
    assert TimmBackbone("resnet18d", freeze_at=0).model.layer1[0].downsample is None
    with pytest.raises(ConfigurationError, match="STAGE1_PROJECTION True needs a ResNet of timm"):
        TimmBackbone("mobilenetv3_small_050", out_indices=(2, 3, 4), stage1_projection=True, freeze_at=0)


@pytest.mark.parametrize(("eval_idx", "layers"), [(-1, 3), (0, 1), (1, 2), (-2, 2)])
def test_evaluation_stops_early_and_training_does_not(eval_idx, layers):
    model = small_model(
        *RTDETR, "MODEL.EGTR.TRANSFORMER.DEC_LAYERS", 3, "MODEL.EGTR.TRANSFORMER.EVAL_IDX", eval_idx,
        "MODEL.EGTR.AUX_LOSS", True,
    )  # fmt: skip
    images = model.preprocess_image([image()])
    output = model.eval().network(images)
    assert len(output.queries) == len(output.hidden_states) == len(output.aux_outputs) + 1 == layers
    assert output.gates.shape[1] == layers + 1
    assert len(model.train().network(images).queries) == 3


def test_no_source_is_left():
    model = small_model(
        *RTDETR, "MODEL.EGTR.TRANSFORMER.EVAL_IDX", 0, "MODEL.EGTR.RELATION.SOURCE.LAYERS", [1],
        "MODEL.EGTR.RELATION.SOURCE.LAST_HIDDEN_STATE", False,
    ).eval()  # fmt: skip
    with pytest.raises(ConfigurationError, match=r"only 1 layers run \(MODEL.EGTR.TRANSFORMER.EVAL_IDX\)"):
        model([image()])


@torch.no_grad()
def test_an_image_finds_the_same_in_a_batch_of_equal_canvases():
    """Sides are padded to 32 at least; boxes are in 0..1 of the image, so both canvases give the same pixels."""
    model = small_model(*RTDETR).eval()
    small, large = image(40, 64), image(40, 64)
    images = model.preprocess_image([small])
    assert images.tensor.shape[-2:] == (64, 64)
    alone = model.network(images)
    together = model.network(model.preprocess_image([small, large]))
    torch.testing.assert_close(alone.pred_boxes[0], together.pred_boxes[0], rtol=0, atol=1e-5)
    canvas = alone.pred_boxes[0] * torch.tensor([1.0, 40 / 64, 1.0, 40 / 64])
    assert ((canvas > 0) & (canvas <= 1)).all() and (alone.pred_boxes[0] > canvas)[:, 1].all()


def test_share_of_the_canvas_by_hand():
    valid = torch.zeros(2, 4, 8, dtype=torch.bool)
    valid[0, :3, :4] = valid[1] = True
    assert valid_share(valid).tolist() == [[[0.5, 0.75, 0.5, 0.75]], [[1.0, 1.0, 1.0, 1.0]]]


def test_losses_of_every_layer_of_selection_and_of_denoising_reach_all_parameters():
    model = small_model(
        *RTDETR, "MODEL.EGTR.AUX_LOSS", True, "MODEL.EGTR.DENOISING.ENABLED", True,
        "MODEL.EGTR.LOSS.CLASS_LOSS", "varifocal", "MODEL.EGTR.TRANSFORMER.DEC_POINTS_PER_LEVEL", [3, 2, 1],
    ).train()  # fmt: skip
    losses = model([image(40, 64), image()])
    assert {"loss_ce_enc", "loss_giou_0", "loss_bbox_dn", "loss_ce_dn_0", "loss_rel"} <= set(losses)
    sum(losses.values()).backward()
    untouched = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not untouched


@torch.no_grad()
def test_denoising_queries_change_nothing_in_what_the_detector_finds():
    model = small_model(*RTDETR, "MODEL.EGTR.DENOISING.ENABLED", True).eval()
    targets = model._targets([image(40, 64)])
    drawn = model.denoising(targets)
    images = model.preprocess_image([image(40, 64)])
    with_boxes = model._detect(images, drawn.queries).split(len(drawn.queries))[1]
    torch.testing.assert_close(with_boxes.logits[-1], model._detect(images).logits[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("options", "message"), [
    (["MODEL.EGTR.TRANSFORMER.EVAL_IDX", 2], r"EVAL_IDX is 2: the decoder has layers 0\.\.1"),
    (["MODEL.EGTR.TRANSFORMER.DEC_POINTS_PER_LEVEL", [4, 4]], r"DEC_POINTS_PER_LEVEL \[4, 4\] must have 3 numbers"),
    (["MODEL.EGTR.TRANSFORMER.NHEADS", 5], "HIDDEN_DIM 64 must be a multiple of NHEADS 5"),
])  # fmt: skip
def test_settings_that_contradict_each_other(options, message):
    from detectron2.modeling import build_model

    with pytest.raises(ConfigurationError, match=message):
        build_model(small_cfg(*RTDETR, *options))


def test_images_with_fewer_cells_than_queries():
    model = small_model(*RTDETR, "MODEL.EGTR.NUM_QUERIES", 30).eval()
    with pytest.raises(ConfigurationError, match="NUM_QUERIES is 30, but images of this size give only 21 proposals"):
        model([image(30, 30, boxes=(), classes=(), relations=())])


def test_defaults_are_those_of_deformable_detr():
    assert get_egtr_cfg().MODEL.EGTR.TRANSFORMER.NAME == "DeformableTransformer"
