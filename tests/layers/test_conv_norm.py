import pytest
import torch
import torch.nn.functional as F

from egtr.layers import ConvNorm


def randomized(module):
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif value.is_floating_point():
                value.normal_(generator=generator)
    return module


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_evaluation_is_one_convolution(kernel_size, stride):
    """Convolution, stored statistics, activation; in float64, where folding is exact."""
    block = randomized(ConvNorm(3, 5, kernel_size, stride, F.silu)).double().eval()
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), F.silu(block.norm(block.conv(x))), rtol=1e-12, atol=1e-12)
    assert block(x).shape[-2:] == (-(-7 // stride), -(-6 // stride))


def test_training_uses_the_statistics_of_the_batch():
    block = randomized(ConvNorm(3, 5, 1)).train()
    out = block(torch.randn(4, 3, 6, 6))
    torch.testing.assert_close(out.mean((0, 2, 3)), block.norm.bias.detach(), rtol=0, atol=1e-5)


def test_gradients_of_one_image_with_channels_last():
    """Batch norm of PyTorch 2.14 computes wrong ones on CPUs, so the block must give it another layout."""
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        block = randomized(ConvNorm(3, 5, 1)).train()
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 3, 7, 6, generator=generator).contiguous(memory_format=layout)
        cells = block(x).flatten(2).transpose(1, 2)
        (cells * torch.randn(1, 42, 5, generator=generator)).sum().backward()
        grads.append([parameter.grad for parameter in block.parameters()])
    torch.testing.assert_close(grads[0], grads[1])
