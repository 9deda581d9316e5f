"""The switch of the fast ways on CPUs: both ways give the same numbers, and switched off, only plain PyTorch runs."""

import pytest
import torch

from egtr.layers import MultiScaleDeformableAttention, cpu, deformable_sampling
from egtr.layers.cpu import dropout, feed_forward, row_sampling
from egtr.modeling.transformer import encoder
from tests.modeling.models import image, small_model


@pytest.fixture
def calls(monkeypatch):
    """Names of the fast and plain ways, in the order of their calls. Chunks are small, so that there are several."""
    calls = []

    def watch(owner, name, label):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(label) or function(*args, **kwargs))

    watch(row_sampling, "sample_rows", "rows")
    watch(feed_forward._FeedForward, "apply", "feed-forward")
    watch(feed_forward, "_infer", "feed-forward")
    watch(dropout._AddDropped, "apply", "dropout")
    watch(encoder, "in_chunks", "chunks")
    watch(deformable_sampling.F, "grid_sample", "grid_sample")
    for module, size in ((row_sampling, 40), (feed_forward, 40)):
        monkeypatch.setattr(module, "CHUNK", size)
    monkeypatch.setattr(encoder, "CELLS", 40)
    return calls


def memory_formats(model):
    """Record for each call if the input of the backbone's first layer has its channels last."""
    formats = []
    model.backbone.model.conv1.register_forward_pre_hook(
        lambda _, inputs: formats.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    return formats


@torch.no_grad()
def test_inference(calls):
    model, inputs = small_model().eval(), [image(64, 96), image(48, 64)]
    formats = memory_formats(model)
    images = model.preprocess_image(inputs)
    fast = model.network(images)
    assert set(calls) == {"rows", "feed-forward", "chunks"}
    calls.clear()
    with cpu.disabled():
        plain = model.network(images)
    assert set(calls) == {"grid_sample"} and formats == [True, False]
    for name in ("logits", "pred_boxes", "memory", "relation_logits", "connectivity_logits"):
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), rtol=1e-4, atol=1e-4)


def test_training(calls):
    """In double precision, since a ReLU whose input rounding moves across zero has another gradient."""
    model, inputs = small_model().double().train(), [image(64, 96), image(48, 64)]
    images, targets = model.preprocess_image(inputs), model._targets(inputs)
    images.tensor = images.tensor.double()
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def gradients():
        losses = model.criterion.weighted(model.criterion(model.network(images), targets)[0])
        return torch.autograd.grad(sum(losses.values()), parameters.values())

    fast = gradients()
    assert set(calls) == {"rows", "feed-forward"}
    calls.clear()
    with cpu.disabled():
        plain = gradients()
    assert set(calls) == {"grid_sample"}
    for name, ours, expected in zip(parameters, fast, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6 * float(expected.abs().max()) + 1e-12, msg=name)


def test_dropout(calls):
    """Both ways drop the same share and scale what is kept; their random numbers differ."""
    torch.manual_seed(0)
    x, added = torch.zeros(10_000), torch.ones(10_000)
    layer = encoder.EncoderLayer(32, 4, 1, 1, 32, dropout=0.25).train()
    layer.self_attn_norm = torch.nn.Identity()
    fast = layer.add(x, added, layer.self_attn_norm)
    assert calls == ["dropout"]
    with cpu.disabled():
        plain = layer.add(x, added, layer.self_attn_norm)
    assert calls == ["dropout"]
    for found in (fast, plain):
        # Four standard deviations of a binomial distribution are 173.
        assert abs(int((found == 0).sum()) - 2500) < 173
        torch.testing.assert_close(found[found != 0].unique(), torch.tensor([4 / 3]))


def test_the_switch_itself():
    device = torch.device("cpu")
    assert cpu.is_used(device) and not cpu.is_used(torch.device("meta"))
    with pytest.raises(KeyError), cpu.disabled():
        assert not cpu.is_used(device)
        with cpu.disabled():
            pass
        assert not cpu.is_used(device)
        raise KeyError
    assert cpu.is_used(device)


def test_for_the_whole_process(monkeypatch):
    monkeypatch.setattr(cpu, "enabled", False)
    assert deformable_sampling.sampling_function("auto", torch.device("cpu")) is deformable_sampling.grid_sample


def test_an_implementation_that_is_named_stays(calls):
    attention = MultiScaleDeformableAttention(8, 2, num_levels=1, num_points=1, implementation="embedding_bag")
    with cpu.disabled(), torch.no_grad():
        attention(torch.randn(1, 2, 8), torch.rand(1, 2, 1, 2), torch.randn(1, 6, 8), [(2, 3)])
    assert calls == ["rows"]
