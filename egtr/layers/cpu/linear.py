"""Linear layers in inference, by the faster of two libraries.

``F.linear`` multiplies float32 matrices with MKL, which is fast on Intel's processors; on AMD's, oneDNN can be more
than twice as fast. The first call with a shape times both a few times, and oneDNN is taken only if its best time is
clearly less. Best times hardly depend on what else the machine does. The choice then holds until the process ends, so
that equal calls give equal bits.

Two processes could choose differently where oneDNN is faster by about the margin, and their results then differ by
rounding. ``torch.use_deterministic_algorithms(True)`` rules that out: ``F.linear`` is then always taken, as it is
with ``linear.enabled = False``.

oneDNN reads the weight itself, not a copy in another layout, which would be stale after the weight has changed.
"""

import threading
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import has_hooks, is_plain_inference

# Rounds of a comparison, and the largest share of F.linear's best time that oneDNN's best may take. A smaller gain
# could be chance.
ROUNDS = 5
SHARE = 0.8
# Fewest multiplications of a product for which a choice can pay, and most rows of the products that are timed.
LEAST_WORK = 2**20
MOST_ROWS = 4096

# False: F.linear is always taken; the other fast ways of CPUs stay.
enabled = True

_choices: dict[tuple, bool] = {}
_lock = threading.Lock()


def apply_linear(module: nn.Module, x: Tensor) -> Tensor:
    """Compute ``module(x)``. Hooks and adapters are called: only a plain linear layer is replaced."""
    if is_plain_linear(module) and is_plain_inference(x) and takes_onednn(x, module.weight, module.bias):
        return onednn_linear(x, module.weight, module.bias)
    return module(x)


def is_plain_linear(module: nn.Module) -> bool:
    """Tell whether a module is no more than its weight and bias, so that these may be read directly."""
    is_plain = type(module) is nn.Linear and type(module.weight) is nn.Parameter
    return is_plain and module.bias is not None and not has_hooks(module)


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute relu(x weight^T + bias) in inference, (P, d) to (P, width)."""
    if takes_onednn(x, weight, bias):
        return onednn_linear(x, weight, bias, "relu")
    return torch.addmm(bias, x, weight.t()).relu_()


def takes_onednn(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Tell whether oneDNN is clearly faster than ``F.linear`` for tensors like these.

    Call it only where :func:`~egtr.layers.cpu.is_plain_inference` is True: oneDNN's operation has no gradient.

    Args:
        x: (..., d).
        weight, bias: (width, d) and (width,).
    """
    # A weight that is not contiguous would be copied in each call, which can take a thousand times as long.
    if any(t.dtype != torch.float32 or not t.is_contiguous() for t in (x, weight, bias)):
        return False
    if not enabled or torch.are_deterministic_algorithms_enabled() or not torch.backends.mkldnn.enabled:
        return False
    if x.numel() * len(weight) < LEAST_WORK:
        return False
    # One choice serves numbers of rows up to twice as high.
    rows = min(1 << (x.numel() // x.shape[-1]).bit_length(), MOST_ROWS)
    key = (rows, *weight.shape, torch.get_num_threads())
    if key not in _choices:
        # Two threads must not come to different choices.
        with _lock:
            if key not in _choices:
                _choices[key] = _is_onednn_faster(x.new_ones(rows, x.shape[-1]), weight, bias)
    return _choices[key]


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """Compute a linear layer by oneDNN, with "relu" or no activation; see :func:`takes_onednn`."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")


def _is_onednn_faster(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    try:
        # The operation is not part of PyTorch's public interface.
        onednn_linear(x, weight, bias)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    F.linear(x, weight, bias)
    rounds = [[_seconds(call, x, weight, bias) for call in (F.linear, onednn_linear)] for _ in range(ROUNDS)]
    usual, other = map(min, zip(*rounds, strict=True))
    return other <= SHARE * usual


def _seconds(function: Callable, *tensors: Tensor) -> float:
    start = time.perf_counter()
    function(*tensors)
    return time.perf_counter() - start
