"""Our detector equals transformers' DeformableDetrForObjectDetection, an independent implementation.

transformers is in the extra "parity" of the package. Its import takes long, so these tests are marked slow.

What differs by version of transformers (read in 4.26.0, 4.30.0, 4.57.6 and 5.23.0; run with the pinned one):

- 5.23.0 renames some weights (``egtr/checkpoint/reference.py``), in memory but not in files.
- 4.26.0 and 4.30.0 leave the norms inside ``downsample`` branches ordinary, as the released EGTR does; the later two
  freeze all. In evaluation mode both compute the same.
- With two-stage, 4.26.0 and 4.30.0 have 128 sine features per coordinate whatever the width d; the later two d / 2,
  as here. At d = 256 both are the same.
- With box refinement in one stage, 5.23.0 has one class head for all layers unless tie_word_embeddings is off; the
  earlier ones have one a layer, as the released EGTR. Both ways are tested.
"""

import pytest
import torch
from detectron2.modeling import build_model

from egtr.checkpoint import load_reference

pytestmark = pytest.mark.slow

SMALL = {
    "backbone": "resnet10t",
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "encoder_n_points": 2,
    "decoder_n_points": 3,
    "num_queries": 9,
    "two_stage_num_proposals": 9,
    "num_labels": 5,
}
VARIANTS = {
    "multi_scale": {},
    "three_levels": {"num_feature_levels": 3},
    "single_scale": {"num_feature_levels": 1},
    "box_refine": {"with_box_refine": True},
    "single_scale_box_refine": {"num_feature_levels": 1, "with_box_refine": True},
    "box_refine_own_class_heads": {"with_box_refine": True, "tie_word_embeddings": False},
    "two_stage": {"with_box_refine": True, "two_stage": True},
    "two_stage_wide": {"with_box_refine": True, "two_stage": True, "d_model": 256},
}
# Images of these sizes are padded to 96 x 128 together.
SIZES = [(96, 80), (64, 128), (50, 70)]


def theirs(variant: str):
    """Their model, with random weights everywhere, since zero or shared initial weights would hide mistakes."""
    import transformers

    config = transformers.DeformableDetrConfig(**SMALL | VARIANTS[variant])
    torch.manual_seed(0)
    model = transformers.DeformableDetrForObjectDetection(config)
    if not config.tie_word_embeddings:
        # The decoder refines boxes with the same heads that predict them.
        model.bbox_embed = model.model.decoder.bbox_embed
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                fan_in = value[0].numel() if value.ndim > 1 else 10
                value.normal_(0.5 if name.endswith("norm.weight") else 0.0, fan_in**-0.5, generator=generator)
        if config.two_stage:
            # Cells outside the image all give the same proposal, which could by chance be the best.
            blank = model.model.enc_output_norm(model.model.enc_output.bias)
            model.model.decoder.class_embed[-1].weight[0] -= blank / blank.norm()
    return model.eval()


@pytest.fixture(scope="module", params=VARIANTS)
def models(request, tmp_path_factory):
    """Their model, and ours from the folder that theirs was saved to."""
    their = theirs(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    if their.config.tie_word_embeddings:
        their.save_pretrained(folder)
    else:
        their.config.save_pretrained(folder)
        torch.save(their.state_dict(), folder / "pytorch_model.bin")
    cfg, state_dict = load_reference(folder)
    cfg.MODEL.DEVICE = "cpu"
    our = build_model(cfg)
    our.load_state_dict(state_dict, strict=True)
    return their, our.eval()


@pytest.mark.parametrize("sizes", [SIZES, SIZES[1:2]], ids=["padded_batch", "one_image"])
@torch.no_grad()
def test_outputs(models, sizes):
    their, our = models
    # With these images the best proposals of two-stage models differ; rounding would decide the order of equal ones.
    generator = torch.Generator().manual_seed(8)
    inputs = [{"image": torch.randint(0, 256, (3, *size), generator=generator)} for size in sizes]
    images = our.preprocess_image(inputs)
    mask = torch.zeros(len(sizes), *images.tensor.shape[-2:], dtype=torch.int64)
    for index, (height, width) in enumerate(sizes):
        mask[index, :height, :width] = 1
    expected = their(pixel_values=images.tensor, pixel_mask=mask)
    output = our.network(images)
    close(output.memory, expected.encoder_last_hidden_state)
    close(torch.stack(output.hidden_states, dim=1), expected.intermediate_hidden_states)
    close(output.logits, expected.logits)
    close(output.pred_boxes, expected.pred_boxes)
    # Outputs differ between queries by more than ten times the tolerance; equal outputs would prove little.
    assert output.logits.std(dim=1).mean() > 1e-3 and output.pred_boxes.std(dim=1).mean() > 1e-3
    if our.transformer.two_stage is not None:
        close(output.proposals[0], expected.enc_outputs_class)
        close(output.proposals[1], expected.enc_outputs_coord_logits.sigmoid())
        best = output.proposals[0][..., 0].topk(our.transformer.two_stage.num_queries + 1).values
        assert best.diff().abs().min() > 1e-5


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
