"""The peak speed of a processor, and the work that a model needs."""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egtr.experiments.model_cost import analyze_model
from egtr.layers import MLP, MultiScaleDeformableAttention
from egtr.layers.cpu.linear import onednn_linear
from egtr.modeling.transformer.layer import PostNormLayer

from .case import Case
from .measure import Contestant, measure_time

# A deep product with a small result. Results are often memory fresh from the system, whose pages count, too: on 4,096
# rows, from 256 to 1,024 columns, they can take as long as the product.
PRODUCT = (512, 4096, 512)
# Too large for any cache.
COPY_MB = 400
# The operations are short, so a few more runs cost little.
LEAST_RUNS = 20


def measure_machine(runs: int) -> dict[str, float]:
    """Measure matrix products in GFLOP/s (a multiplication and an addition are two) and memory traffic in GB/s.

    Returns:
        "float32_gflops", "bfloat16_gflops" of a linear layer from 4,096 to 512 on 512 rows, in float32 by the faster
        of two libraries: "float32_mkl_gflops", which is F.linear's, and "float32_onednn_gflops" (if there is one);
        "copy_gb_per_s", bytes read and written.
    """
    rows, inner, columns = PRODUCT
    x, weight, bias = torch.randn(rows, inner), torch.randn(columns, inner), torch.zeros(columns)
    rounded = [tensor.bfloat16() for tensor in (x, weight, bias)]
    calls = {"float32": lambda: F.linear(x, weight, bias), "bfloat16": lambda: F.linear(*rounded)}
    # An operation that is not public, and may vanish.
    with suppress(AttributeError, RuntimeError, TypeError):
        onednn_linear(x, weight, bias)
        calls["float32_onednn"] = lambda: onednn_linear(x, weight, bias)
    source = torch.ones(COPY_MB * 250_000)
    target = torch.ones_like(source)
    calls["copy"] = lambda: target.copy_(source)
    contestants = {name: Contestant(lambda _, call=call: call(), None, None) for name, call in calls.items()}
    timings = measure_time(contestants, max(runs, LEAST_RUNS))
    copied = 2 * COPY_MB / 1e3 / timings.pop("copy").seconds
    gflops = {name: 2 * math.prod(PRODUCT) / timing.seconds / 1e9 for name, timing in timings.items()}
    found = {"float32_gflops": max(value for name, value in gflops.items() if name != "bfloat16")}
    found["float32_mkl_gflops"] = gflops.pop("float32")
    return found | {f"{name}_gflops": value for name, value in gflops.items()} | {"copy_gb_per_s": copied}


def count_work(case: Case) -> dict[str, dict[str, float]]:
    """Count operations and bytes of one image, by part, with relations of all pairs.

    Returns:
        "backbone", "encoder", "decoder" and "relations", each to its "gflop" of products (a multiplication and an
        addition are two) and to the "mb" that :func:`count_bytes` counts.
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
    images = model.preprocess_image(case.images()[:1])
    for name, count in count_bytes(model, lambda: model.network(images)).items():
        mb[_part(name)] += count / 1e6
    return {part: {"gflop": gflop[part], "mb": mb[part]} for part in gflop}


def _part(name: str) -> str:
    first, *rest = name.split(".")
    if first != "transformer":
        return "relations" if first == "relation" else "backbone"
    return "decoder" if rest[0] in ("decoder", "class_heads", "box_heads") else "encoder"


@torch.no_grad()
def count_bytes(model: nn.Module, call: Callable[[], Any]) -> dict[str, int]:
    """Count the bytes that the layers of ``model`` must at least read and write during ``call()``, without a cache.

    These are the inputs, weights and outputs of convolutions, linear layers, layer norms and group norms, and the
    rows that deformable attention reads. A weight counts once, however often its layer is called. Three things do not
    count: the hidden layer of a feed-forward network, which need not leave the cache; batch norms, which are folded
    into convolutions; and operations that need no pass of their own, such as activations and residual connections.

    Returns:
        Bytes by name of the module in ``model``; modules that were not called as such are left out.
    """
    found: dict[str, int] = {}
    hidden_after, hidden_before = set(), set()
    for module in model.modules():
        if isinstance(module, PostNormLayer | MLP):
            first, second = module.layers[-2:] if isinstance(module, MLP) else (module.linear1, module.linear2)
            hidden_after.add(first)
            hidden_before.add(second)

    def count(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        # Heads and encoder layers work in blocks, with the same weights for each.
        found.setdefault(name, sum(map(_size, module.parameters())))
        found[name] += 0 if module in hidden_before else _size(inputs[0])
        found[name] += 0 if module in hidden_after else _size(output)

    def count_rows(name: str, width: int, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        # Two offsets a sample. A sample reads four corners, and each corner is a row of a head's width.
        found[name] = found.get(name, 0) + 4 * (output.numel() // 2) * width * output.element_size()

    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.LayerNorm | nn.GroupNorm):
            handles.append(module.register_forward_hook(partial(count, name)))
        if isinstance(module, MultiScaleDeformableAttention):
            # The encoder handles some queries at a time: it calls the layers of the module, not the module.
            width = module.value_proj.out_features // module.num_heads
            handles.append(module.sampling_offsets.register_forward_hook(partial(count_rows, name, width)))
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return found


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
