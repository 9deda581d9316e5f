"""The backbone of :mod:`benchmarks.literal`: a timm ResNet with every convolution and norm written out."""

import torch.nn.functional as F
from torch import Tensor, nn


def resnet(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Map (B, 3, H, W) to the feature maps of a timm ResNet's chosen stages, finest first."""
    x = F.relu(norm(model.bn1, sequence(model.conv1, x)))
    x = model.maxpool(x)
    maps = []
    wanted = set(model.return_layers)
    for name in ("layer1", "layer2", "layer3", "layer4"):
        if name not in dict(model.named_children()):
            break
        for block in getattr(model, name):
            x = residual_block(block, x)
        if name in wanted:
            maps.append(x)
    return maps


def residual_block(block: nn.Module, x: Tensor) -> Tensor:
    """Apply a basic block or bottleneck: convolutions and norms with ReLU between; the shortcut before the last."""
    shortcut = x if block.downsample is None else sequence(block.downsample, x)
    x = norm(block.bn1, convolve(block.conv1, x))
    x = norm(block.bn2, convolve(block.conv2, F.relu(x)))
    if hasattr(block, "conv3"):
        x = norm(block.bn3, convolve(block.conv3, F.relu(x)))
    return F.relu(x + shortcut)


def sequence(modules: nn.Module, x: Tensor) -> Tensor:
    """Apply convolutions, poolings and norms one after the other."""
    for module in modules if isinstance(modules, nn.Sequential) else [modules]:
        if isinstance(module, nn.Conv2d):
            x = convolve(module, x)
        else:
            x = norm(module, x) if hasattr(module, "running_mean") else module(x)
    return x


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply only the convolution; the model's own convolution also does the work of the norm after it."""
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply batch norm. If it is frozen: (x - mean) / sqrt(variance + eps) * weight + bias, per channel."""
    if isinstance(layer, nn.BatchNorm2d):
        return nn.BatchNorm2d.forward(layer, x)
    per_channel = [v.view(1, -1, 1, 1) for v in (layer.running_mean, layer.running_var, layer.weight, layer.bias)]
    mean, variance, weight, bias = per_channel
    scale = weight * (variance + layer.eps).rsqrt()
    return x * scale + (bias - mean * scale)
