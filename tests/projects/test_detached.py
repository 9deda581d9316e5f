"""The control for by-products: RT-DETR whose queries and keys pass no gradient on."""

from pathlib import Path

import torch

from egtr.config import import_extensions
from tests.modeling.models import image, small_model

FILE = Path(__file__).parents[2] / "projects/EGTR/detached.py"


def test_relations_do_not_teach_attention_through_by_products():
    import_extensions([str(FILE)])
    gradients = []
    for name in ("RTDETRTransformer", "DetachedRTDETRTransformer"):
        model = small_model(
            "MODEL.EGTR.TRANSFORMER.NAME", name, "MODEL.EGTR.BACKBONE.OUT_INDICES", [3, 4],
            "MODEL.EGTR.RELATION.SOURCE.LAST_HIDDEN_STATE", False,
        ).train()  # fmt: skip
        torch.manual_seed(0)
        losses, _ = model.losses([image()])
        torch.autograd.backward(losses["loss_rel"])
        gradients.append([weight.grad for weight in model.transformer.decoder.parameters()])
        assert all(weight.grad is not None for weight in model.relation.source.parameters())
    attached, detached = gradients
    assert any(grad is not None and grad.abs().sum() > 0 for grad in attached)
    assert all(grad is None for grad in detached)
