"""TEST.AMP: backbone and encoder in bfloat16, everything that decides scores in float32."""

import pytest
import torch

from tests.modeling.models import image, small_model

AMP = ("TEST.AMP", True)


def seen_types(model, inputs):
    """Types of the outputs of some layers in evaluation mode."""
    seen = {}
    layers = {
        "backbone": model.backbone.model.layer1,
        "encoder": model.transformer.encoder.layers[0].linear1,
        "residual": model.transformer.encoder.layers[0],
        "decoder": model.transformer.decoder.layers[0].linear1,
        "classes": model.transformer.class_heads[-1],
        "connectivity": model.relation.connectivity_head.mlp.layers[-1],
    }
    hooks = [
        layer.register_forward_hook(lambda module, given, made, name=name: seen.update({name: made.dtype}))
        for name, layer in layers.items()
    ]
    model.network(model.preprocess_image(inputs))
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def test_what_is_rounded():
    low, full = torch.bfloat16, torch.float32
    expected = {"backbone": low, "encoder": low, "residual": full, "decoder": full, "classes": full}
    seen = seen_types(small_model(*AMP).eval(), [image()])
    assert {name: seen[name] for name in expected} == expected
    assert set(seen_types(small_model().eval(), [image()]).values()) == {full}


@pytest.mark.parametrize(
    "options", [(), ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer")], ids=["deformable", "detr"]
)
@torch.no_grad()
def test_close_to_float32(options):
    exact, rounded = small_model(*options).eval(), small_model(*options, *AMP).eval()
    torch.manual_seed(1)
    inputs = [image(64, 96), image(48, 64)]
    expected, ours = (model.network(model.preprocess_image(inputs)) for model in (exact, rounded))
    for name in ("logits", "pred_boxes", "relation_logits", "connectivity_logits"):
        one, other = getattr(ours, name), getattr(expected, name)
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)
    assert not torch.equal(ours.logits, expected.logits)
    graph = rounded(inputs)[0]["scene_graph"]
    assert len(graph.triplets) > 0


def test_training_is_not_touched():
    torch.manual_seed(1)
    inputs = [image()]
    losses = [small_model(*options).train()(inputs) for options in ((), AMP)]
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=0, atol=0)


@torch.no_grad()
def test_a_cached_detector_stays_exact(tmp_path):
    options = ("MODEL.EGTR.FREEZE_DETECTOR", True, "MODEL.EGTR.DETECTOR_CACHE", str(tmp_path))
    inputs = [image()]
    ours, expected = (
        model.network(model.preprocess_image(inputs))
        for model in (small_model(*options, *AMP).eval(), small_model().eval())
    )
    torch.testing.assert_close(ours.logits, expected.logits, rtol=0, atol=0)
