"""Our RT-DETR equals transformers' RTDetrForObjectDetection and RTDetrV2ForObjectDetection, with random weights.

transformers is in the extra "parity" of the package. Its import takes long, so these tests are marked slow.
"""

import pytest
import torch
from detectron2.modeling import build_model

from egtr.checkpoint import load_reference

pytestmark = pytest.mark.slow

R18 = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}
R50 = {"layer_type": "bottleneck", "depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048]}
SMALL = {
    "encoder_hidden_dim": 64,
    "d_model": 64,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "decoder_in_channels": [64, 64, 64],
    "decoder_layers": 3,
    "num_queries": 20,
    "num_labels": 5,
}
# Least difference between the scores of the last selected cell and the next one. Rounding changes a score by about
# 2e-6, and where two scores are closer than that, the processor decides which cell is selected.
MARGIN = 2e-5
VARIANTS = {
    "r18": (R18, {"hidden_expansion": 0.5}),
    "r18_trained_norms": (R18, {"freeze_backbone_batch_norms": False, "num_denoising": 0}),
    "r18_narrow": ({**R18, "depths": [1, 2, 1, 1], "hidden_sizes": [64, 96, 128, 160]}, {"decoder_n_points": 2}),
    "r50": (R50, {"hidden_expansion": 1.0}),
    "r50_wide_encoder": (R50, {"encoder_hidden_dim": 96, "decoder_in_channels": [96, 96, 96], "encoder_layers": 2}),
}
CANVASES = {
    "square": [(128, 128)],
    "wide": [(96, 160)],
    "high_with_invalid_anchors": [(448, 96)],
    "batch": [(96, 128), (96, 128)],
    # Little padding: equal cells have equal scores, of which rounding would choose.
    "padded_batch": [(96, 116), (84, 128), (90, 120)],
}


def theirs(version: int, backbone: dict, settings: dict):
    """Their model, with random weights everywhere, since zero or shared initial weights would hide mistakes."""
    import transformers

    nested = transformers.RTDetrResNetConfig(**backbone, out_features=["stage2", "stage3", "stage4"])
    kind = "RTDetr" if version == 1 else "RTDetrV2"
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=nested, encoder_in_channels=backbone["hidden_sizes"][1:], **SMALL | settings
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point() and "points_scale" not in name:
                fan_in = value[0].numel() if value.ndim > 1 else 10
                is_norm = value.ndim == 1 and name.endswith("weight")
                value.normal_(0.7 if is_norm else 0.0, fan_in**-0.5 / (2 if is_norm else 1), generator=generator)
        # Cells whose anchors are invalid all have the same score, which could by chance be the best.
        blank = model.model.enc_output[1](model.model.enc_output[0].bias)
        model.model.enc_score_head.weight -= blank / blank.norm()
    return model.eval()


@pytest.fixture(scope="module", params=[(version, name) for version in (1, 2) for name in VARIANTS], ids=str)
def models(request, tmp_path_factory):
    """Their model, and ours from the folder that theirs was saved to."""
    version, name = request.param
    their = theirs(version, *VARIANTS[name])
    folder = tmp_path_factory.mktemp(name)
    their.save_pretrained(folder)
    cfg, state_dict = load_reference(folder)
    cfg.MODEL.DEVICE = "cpu"
    our = build_model(cfg)
    our.load_state_dict(state_dict, strict=True)
    return their, our.eval()


def selection_margin(output) -> float:
    """Compute how far the last selected cell is above the next one, the least over the images."""
    scores = output.enc_outputs_class.amax(-1).sort(descending=True).values
    selected = output.enc_topk_logits.shape[1]
    return float((scores[:, selected - 1] - scores[:, selected]).min())


@pytest.mark.parametrize("sizes", CANVASES.values(), ids=CANVASES)
@torch.no_grad()
def test_outputs(models, sizes):
    their, our = models
    # Images of noise: the first ones for which their selection does not depend on rounding.
    for seed in range(8, 108):
        generator = torch.Generator().manual_seed(seed)
        inputs = [{"image": torch.randint(0, 256, (3, *size), generator=generator)} for size in sizes]
        images = our.preprocess_image(inputs)
        height, width = images.tensor.shape[-2:]
        mask = torch.zeros(len(sizes), height, width, dtype=torch.int64)
        for index, (rows, columns) in enumerate(sizes):
            mask[index, :rows, :columns] = 1
        expected = their(pixel_values=images.tensor, pixel_mask=mask)
        if selection_margin(expected) > MARGIN:
            break
    assert selection_margin(expected) > MARGIN
    assert (height % 32, width % 32) == (0, 0)
    output = our.network(images)
    # They have boxes in 0..1 of the padded image.
    share = torch.tensor([[columns / width, rows / height] * 2 for rows, columns in sizes])[:, None]
    # Where two scores are nearly equal, rounding decides the order of two queries.
    logits, boxes = output.proposals
    cells = torch.cat([logits, boxes * share], dim=-1)
    wanted = torch.cat([expected.enc_topk_logits, expected.enc_topk_bboxes], dim=-1)
    order = torch.cdist(wanted, cells).argmin(-1)

    def ordered(x):
        return torch.stack([image[indices] for image, indices in zip(x, order, strict=True)])

    assert torch.equal(order.sort().values, torch.arange(order.shape[1]).expand_as(order))
    close(ordered(cells), wanted)
    for layer, hidden_state in enumerate(output.hidden_states):
        close(ordered(hidden_state), expected.intermediate_hidden_states[:, layer])
    close(ordered(output.logits), expected.logits)
    close(ordered(output.pred_boxes) * share, expected.pred_boxes)
    # Outputs differ between queries by more than ten times the tolerance; equal outputs would prove little.
    assert output.logits.std(dim=1).mean() > 1e-3 and output.pred_boxes.std(dim=1).mean() > 1e-3


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
