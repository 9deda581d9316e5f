"""RT-DETR whose by-products are detached: relations read queries and keys, but do not teach the attention.

    egtr sweep projects/EGTR/sweeps/joint.yaml --extension projects/EGTR/detached.py \
        --extension projects/EGTR/smoothing_controls.py

If self-attention comes to encode relations only because relations train it, it does so less in this model.
"""

from dataclasses import replace

from egtr.modeling.transformer import TRANSFORMER_REGISTRY, TransformerOutput
from egtr.modeling.transformer.rtdetr_transformer import RTDETRTransformer


@TRANSFORMER_REGISTRY.register()
class DetachedRTDETRTransformer(RTDETRTransformer):
    """RTDETRTransformer, but no gradient flows into queries and keys; the hidden states still pass theirs on."""

    def forward(self, *args, **kwargs) -> TransformerOutput:
        """Detect objects, as :class:`~egtr.modeling.transformer.RTDETRTransformer` does."""
        out = super().forward(*args, **kwargs)
        return replace(out, **{name: [x.detach() for x in getattr(out, name)] for name in ("queries", "keys")})
