"""DETR in place of Deformable DETR: the same by-products, the same losses, padding without influence."""

import pytest
import torch
from torch import nn

from egtr.modeling import TRANSFORMER_REGISTRY
from egtr.modeling.transformer import DETRTransformer, TransformerOutput
from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model

DETR = ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer")


def test_shapes_and_what_is_handed_out():
    model = small_model(*DETR).eval()
    output = model.network(model.preprocess_image([image(), image(40, 80)]))
    # 6 queries, 5 classes, 4 predicates, width 64, 2 decoder layers; the last map of 48 x 80 is 2 x 3.
    assert output.logits.shape == (2, 6, 5) and output.pred_boxes.shape == (2, 6, 4)
    assert output.relation_logits.shape == (2, 6, 6, 4) and output.connectivity_logits.shape == (2, 6, 6)
    assert [q.shape for q in output.queries] == [k.shape for k in output.keys] == 2 * [(2, 6, 64)]
    assert output.gates.shape == (2, 3, 6, 6) and output.memory.shape == (2, 6, 64)


def test_by_products_are_the_projections_of_self_attention():
    """With the same weights, torch's attention gives the same result, and its weights follow from q and k."""
    torch.manual_seed(0)
    transformer = small_model(*DETR).eval().transformer
    layer = transformer.decoder[0].self_attn
    theirs = nn.MultiheadAttention(64, 4, batch_first=True)
    with torch.no_grad():
        parts = (layer.q_proj, layer.k_proj, layer.v_proj)
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(layer.out_proj.state_dict())
    x, position = torch.randn(1, 6, 64), torch.randn(1, 6, 64)
    ours, queries, keys = layer(x, position)
    wanted, weights = theirs(x + position, x + position, x, average_attn_weights=False)
    torch.testing.assert_close(ours, wanted)
    q, k = (t.view(1, 6, 4, 16).transpose(1, 2) for t in (queries, keys))
    torch.testing.assert_close((q @ k.transpose(-1, -2) / 16**0.5).softmax(-1), weights)


def test_padding_has_no_influence():
    """A map of 2 x 2 cells, and the same one with padding that holds other numbers."""
    transformer = small_model(*DETR).eval().transformer
    cells, valid = torch.randn(1, 16, 2, 2), torch.zeros(1, 96, 128, dtype=torch.bool)
    valid[:, :64, :64] = True
    padded = torch.randn(1, 16, 3, 4)
    padded[:, :, :2, :2] = cells
    alone = transformer({"c5": cells}, valid[:, :64, :64])
    together = transformer({"c5": padded}, valid)
    for field in ("logits", "pred_boxes", "queries", "keys"):
        torch.testing.assert_close(getattr(together, field), getattr(alone, field), rtol=1e-4, atol=1e-5)


def test_training_reaches_every_parameter_and_learns():
    model = small_model(*DETR, "MODEL.EGTR.AUX_LOSS", True).train()
    inputs = [image(), image(40, 80)]
    losses = model(inputs)
    assert {"loss_ce", "loss_ce_0", "loss_bbox_0", "loss_rel", "loss_connectivity"} <= set(losses)
    sum(losses.values()).backward()
    # The content of queries is zero at first, so the first self-attention has nothing to project to values.
    idle = {name for name, p in model.transformer.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"decoder.0.self_attn.v_proj.weight"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(8):
        optimizer.zero_grad()
        total = sum(model(inputs).values())
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.7 * history[0]


@pytest.mark.parametrize("key", ["WITH_BOX_REFINE", "TWO_STAGE"])
def test_options_of_deformable_detr_are_refused(key):
    with pytest.raises(ConfigurationError, match=f"MODEL.EGTR.{key} True needs .*DeformableTransformer"):
        small_model(*DETR, f"MODEL.EGTR.{key}", True)


def test_unknown_transformer():
    with pytest.raises(
        ConfigurationError, match="'Perceiver' is not registered. Known: DETRTransformer, DeformableTransformer"
    ):
        small_model("MODEL.EGTR.TRANSFORMER.NAME", "Perceiver")


def test_a_transformer_of_ones_own():
    @TRANSFORMER_REGISTRY.register()
    class HalvedBoxes(DETRTransformer):
        def forward(self, features, valid) -> TransformerOutput:
            out = super().forward(features, valid)
            out.pred_boxes = [boxes * 0.5 for boxes in out.pred_boxes]
            return out

    inputs = [image()]
    plain, halved = small_model(*DETR).eval(), small_model("MODEL.EGTR.TRANSFORMER.NAME", "HalvedBoxes").eval()
    images = plain.preprocess_image(inputs)
    torch.testing.assert_close(halved.network(images).pred_boxes, plain.network(images).pred_boxes * 0.5)
    sum(halved.train()(inputs).values()).backward()
