"""What a processor can do at best, and what a model asks of it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from egtr.engine.analysis import analyze_model
from egtr.layers import MultiScaleDeformableAttention

from .contestants import Case
from .measure import Contestant, measure_time

# Rows of the activations in a detector of this kind, against two widths of its layers.
PRODUCT = (12_537, 256, 1024)
# Large enough to lie in no cache.
COPY_MB = 400


def measure_machine(runs: int) -> dict[str, float]:
    """Matrix products in GFLOP/s (a multiplication and an addition are two), memory traffic in GB/s.

    Returns:
        "float32_gflops", "bfloat16_gflops" of a product of (12,537, 256) and (256, 1024); "copy_gb_per_s", bytes read
        and written.
    """
    rows, inner, columns = PRODUCT
    calls = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
        out = torch.empty(rows, columns, dtype=dtype)
        calls[str(dtype).removeprefix("torch.")] = lambda a=left, b=right, c=out: torch.mm(a, b, out=c)
    source = torch.ones(COPY_MB * 250_000)
    target = torch.ones_like(source)
    calls["copy"] = lambda: target.copy_(source)
    contestants = {name: Contestant(lambda _, call=call: call(), None, None) for name, call in calls.items()}
    timings = measure_time(contestants, max(runs, 10))
    flop = 2 * math.prod(PRODUCT)
    return {
        "float32_gflops": flop / timings["float32"].seconds / 1e9,
        "bfloat16_gflops": flop / timings["bfloat16"].seconds / 1e9,
        "copy_gb_per_s": 2 * COPY_MB / 1e3 / timings["copy"].seconds,
    }


def count_work(case: Case) -> dict[str, dict[str, float]]:
    """Operations and bytes of one picture, by part.

    Returns:
        For each of "backbone", "encoder", "decoder" and "relations" the "gflop" of products (a multiplication and an
        addition are two), and the "mb" that the layers read and write at least: inputs, weights and outputs of every
        convolution, linear layer and norm, and the rows that deformable attention reads, once each.
    """
    flops = {row.name: 2 * row.flops / 1e9 for row in analyze_model(case.cfg(), case.height, case.width)}
    decoder = flops["transformer.decoder"] + flops.get("transformer.class_heads", 0)
    decoder += flops.get("transformer.box_heads", 0)
    gflop = {
        "backbone": flops["backbone"],
        "encoder": flops["transformer"] - decoder,
        "decoder": decoder,
        "relations": flops.get("relation", 0.0),
    }
    mb = dict.fromkeys(gflop, 0.0)
    model = case.build_model("MODEL.DEVICE", "cpu").eval()
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()) or isinstance(module, MultiScaleDeformableAttention):
            handles.append(module.register_forward_hook(_count_bytes(mb, _part(name))))
    with torch.no_grad():
        model(case.pictures()[:1])
    for handle in handles:
        handle.remove()
    return {part: {"gflop": gflop[part], "mb": mb[part]} for part in gflop}


def _part(name: str) -> str:
    first, *rest = name.split(".")
    if first != "transformer":
        return "relations" if first == "relation" else "backbone"
    return "decoder" if rest[0] in ("decoder", "class_heads", "box_heads") else "encoder"


def _count_bytes(mb: dict[str, float], part: str):
    def hook(module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(module, MultiScaleDeformableAttention):
            query, _, value = inputs[:3]
            samples = query.shape[1] * module.num_heads * module.num_levels * module.num_points
            # Four corners each, and every one a row of a head's width.
            touched = [4 * samples * value.shape[-1] // module.num_heads * value.element_size()]
        else:
            tensors = [x for x in (*inputs, output, *module.parameters()) if isinstance(x, Tensor)]
            touched = [x.numel() * x.element_size() for x in tensors]
        mb[part] += sum(touched) / 1e6

    return hook
