"""Batch norm as a part of the convolution before it, which saves time on every device."""

import logging
from collections import Counter

import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d
from torch import Tensor, fx, nn
from torchvision.ops import FrozenBatchNorm2d

from .cpu.convolution import convolve
from .folded_weights import Folded, fold_once

logger = logging.getLogger(__name__)

_FROZEN = (FrozenBatchNorm2d, FrozenBatchNormAct2d)
_NORMS = (*_FROZEN, nn.BatchNorm2d, BatchNormAct2d)


def fold_batch_norms(model: nn.Module) -> int:
    """Fold the batch norms of a model into the convolutions before them, in place.

    If the statistics of a norm are fixed (it is frozen, or in evaluation mode), norm(conv(x)) is a convolution with
    other weights. These weights are computed again in each forward pass, so that they are never stale after weights
    are loaded, trained or moved, and gradients reach the convolution's own weights. This takes a thirtieth of
    ResNet-50's time at 600 x 1000; the images of a stream can share them (:mod:`egtr.layers.folded_weights`).
    Modules, parameters and their names stay as they are, but a forward hook on a folded convolution sees the
    normalised output. If one module of a pair is replaced later, the other one does its own work again.

    Args:
        model: its graph is read by :class:`torch.fx.Tracer`; a model that cannot be traced stays as it is.

    Returns:
        The number of folded norms.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # Tracing runs the model's own code on placeholders, so any error may come out.
        logger.debug("Batch norms are not folded, the model cannot be traced: %s", error)
        return 0
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or not _has_fixed_form(model.get_submodule(node.target)) or len(node.args) != 1:
            continue
        (source,) = node.args
        if source.op != "call_module" or type(model.get_submodule(source.target)) is not nn.Conv2d:
            continue
        if len(source.users) == 1 and calls[source.target] == calls[node.target] == 1:
            pairs.append(_Pair(model, source.target, node.target))
    for pair in pairs:
        pair.conv.forward, pair.norm.forward = pair.convolve, pair.normalize
    return len(pairs)


def fold_norm(conv: nn.Conv2d, norm: nn.Module) -> Folded:
    """Compute weight and bias of the convolution that equals norm(conv(x)) with the norm's stored statistics."""

    def fold() -> Folded:
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if conv.bias is None else norm.running_mean - conv.bias
        return conv.weight * scale.view(-1, 1, 1, 1), torch.addcmul(norm.bias, mean, scale, value=-1)

    return fold_once(conv, fold)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, _NORMS) or super().is_leaf_module(module, name)


def _has_fixed_form(norm: nn.Module) -> bool:
    return type(norm) in _NORMS and norm.weight is not None and norm.running_var is not None


def _steps(model: nn.Module, name: str) -> list[tuple[dict[str, nn.Module], str, nn.Module]]:
    steps = []
    for part in name.split("."):
        steps.append((model._modules, part, model._modules[part]))
        model = steps[-1][2]
    return steps


class _Pair:
    """A convolution and the norm after it; while the norm is folded, the convolution does the work of both.

    Args:
        model: the model that contains both.
        conv, norm: their names in the model.
    """

    def __init__(self, model: nn.Module, conv: str, norm: str):
        self.conv, self.norm = model.get_submodule(conv), model.get_submodule(norm)
        # Each module on the way to one of both: the parts of its parent, its name there, and the module itself.
        self.steps = [step for name in (conv, norm) for step in _steps(model, name)]

    def is_folded(self) -> bool:
        """Tell whether the norm's statistics are fixed and the model still has both modules under their names.

        Users may replace one of the two, by a convolution of four input channels for example.
        """
        if self.norm.training and not isinstance(self.norm, _FROZEN):
            return False
        return all(parts.get(name) is module for parts, name, module in self.steps)

    def convolve(self, x: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        if not self.is_folded():
            return nn.Conv2d.forward(conv, x)
        weight, bias = fold_norm(conv, norm)
        if conv.padding_mode == "zeros" and not isinstance(conv.padding, str):
            return convolve(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        return conv._conv_forward(x, weight, bias)

    def normalize(self, x: Tensor) -> Tensor:
        norm = self.norm
        if not self.is_folded():
            return type(norm).forward(norm, x)
        # In some timm models the norm includes the activation.
        return norm.act(norm.drop(x)) if isinstance(norm, FrozenBatchNormAct2d | BatchNormAct2d) else x
