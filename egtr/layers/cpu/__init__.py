"""Code that exists only to be fast on CPUs, behind one switch.

Everything here computes what plain PyTorch computes elsewhere in the library, equal up to rounding, in less time:

- :mod:`row_sampling` and :mod:`bilinear_rows`: deformable attention without ``grid_sample``
- :mod:`feed_forward`: two linear layers in chunks of rows
- :mod:`linear`: linear layers in inference by the faster of two libraries
- :mod:`convolution`: convolutions of one thread in inference
- :mod:`dropout`: dropout from random bytes (its random numbers differ from those of PyTorch's dropout)
- :mod:`chunks`: the encoder in parts; also channels-last convolutions in the backbone

The switch works as ``torch.backends.cudnn.enabled`` does. It is on by default, and takes effect with the next call::

    from egtr.layers import cpu

    cpu.enabled = False      # for the whole process

    with cpu.disabled():     # for a block
        model(inputs)

With the switch off, and on all other devices, the plain code runs. An implementation of deformable attention that a
configuration names (anything but "auto") stays as named. Folded norms (:mod:`egtr.layers.norm_folding`) are not part
of this: they save time on every device.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

enabled = True


def is_used(device: torch.device) -> bool:
    """Tell whether tensors on this device take the fast way."""
    return enabled and device.type == "cpu"


def is_plain_inference(x: torch.Tensor) -> bool:
    """Tell whether a tensor takes the fast way, no gradient is wanted, and nothing rewrites or records operations.

    Operations without a gradient, or that autocast and exporters do not know, may then be called directly.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return is_used(x.device) and not torch.is_autocast_enabled("cpu")


@contextmanager
def disabled() -> Iterator[None]:
    """Switch the fast way off while this is open, in all threads."""
    global enabled
    before, enabled = enabled, False
    try:
        yield
    finally:
        enabled = before


def has_hooks(module: nn.Module) -> bool:
    """Tell whether a hook waits for calls of this module, so that its ``forward`` must not be bypassed."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
