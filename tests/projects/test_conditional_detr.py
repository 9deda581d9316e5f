"""The worked example of a detector from outside the package: Conditional DETR of transformers."""

from pathlib import Path

import pytest
import torch

from tests.modeling.models import image, small_model

# The import of transformers takes long.
pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "projects/EGTR/conditional_detr.py"


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("transformers")
    from egtr.config.extensions import import_extensions

    import_extensions([str(FILE)])
    return small_model(
        "MODEL.EGTR.TRANSFORMER.NAME", "ConditionalDETRTransformer", "MODEL.EGTR.AUX_LOSS", True,
    )  # fmt: skip


@torch.no_grad()
def test_by_products_are_those_of_the_attention(model):
    """The softmax of queries times keys is the attention that transformers reports for each layer."""
    model.eval()
    transformer = model.transformer
    weights = []
    hooks = [
        layer.self_attn.register_forward_hook(lambda _, __, result: weights.append(result[1]))
        for layer in transformer.decoder.layers
    ]
    transformer.decoder.config._attn_implementation = "eager"
    output = model.network(model.preprocess_image([image(), image(40, 64)]))
    for hook in hooks:
        hook.remove()
    assert len(output.queries) == len(output.keys) == len(weights) == 2
    for queries, keys, expected in zip(output.queries, output.keys, weights, strict=True):
        queries, keys = (x.unflatten(-1, (4, 16)).transpose(1, 2) for x in (queries, keys))
        torch.testing.assert_close((queries @ keys.transpose(2, 3) / 4).softmax(-1), expected)


def test_it_learns(model):
    model.train()
    losses = model([image(), image(40, 64)])
    assert {"loss_ce", "loss_ce_0", "loss_rel", "loss_connectivity"} <= set(losses)
    sum(losses.values()).backward()
    decoder = model.transformer.decoder
    assert all(layer.self_attn.q_content_proj.weight.grad is not None for layer in decoder.layers)
    (result,) = model.eval()([image()])
    assert len(result["scene_graph"].triplets)
