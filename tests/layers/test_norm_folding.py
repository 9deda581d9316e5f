"""Folded norms equal a convolution followed by its norm, also after weights or modules have changed."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from egtr.layers.norm_folding import fold_batch_norms


def randomize(model):
    """Draw weights and statistics with which no norm is close to the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if value.is_floating_point() and value.ndim == 1:
                if name.endswith(("bias", "running_mean")):
                    value.normal_(0.0, 0.5, generator=generator)
                else:
                    value.uniform_(0.5, 1.5, generator=generator)
    return model.double()


def make(name):
    narrow = {"channels": (8, 8, 16, 16)} if name.startswith("resnet") else {}
    return timm.create_model(name, features_only=True, out_indices=(2, 3), **narrow)


def plain_and_folded(name="resnet10t", convert=lambda model: model):
    torch.manual_seed(0)
    plain = randomize(convert(make(name)))
    folded = copy.deepcopy(plain)
    assert fold_batch_norms(folded) == sum("running_var" in key for key in plain.state_dict())
    return plain, folded


def frozen(model):
    return timm.layers.freeze_batch_norm_2d(model)


def check(plain, folded):
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for ours, expected in zip(folded(x), plain(x), strict=True):
        assert expected.count_nonzero() > expected.numel() / 4, "maps of zeros would equal anything"
        torch.testing.assert_close(ours, expected)


def test_by_hand():
    """3 * 2 + 1 = 7 after the convolution; (7 - 2) / sqrt(3.75 + 0.25) * 4 + 10 = 20 after the norm."""
    conv, norm = nn.Conv2d(1, 1, 1), FrozenBatchNorm2d(1, eps=0.25)
    for tensor, value in (
        (conv.weight, 2.0), (conv.bias, 1.0), (norm.weight, 4.0), (norm.bias, 10.0),
        (norm.running_mean, 2.0), (norm.running_var, 3.75),
    ):  # fmt: skip
        nn.init.constant_(tensor, value)
    model = nn.Sequential(conv, norm)
    assert fold_batch_norms(model) == 1
    assert model(torch.full((1, 1, 1, 1), 3.0)).item() == pytest.approx(20.0)
    assert conv(torch.full((1, 1, 1, 1), 3.0)).item() == pytest.approx(20.0), "the convolution does all the work"


# The stem of resnet10t has three convolutions; the norms of mobilenetv3 include their activation.
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])
@pytest.mark.parametrize("convert", [frozen, lambda model: model], ids=["FrozenBN", "BN"])
def test_same_maps_in_evaluation_mode(name, convert):
    plain, folded = plain_and_folded(name, convert)
    assert list(folded.state_dict()) == list(plain.state_dict())
    check(plain.eval(), folded.eval())


def test_ordinary_norms_train_as_ever():
    plain, folded = plain_and_folded()
    for _ in range(2):  # The second time, with the statistics that the first one has changed.
        check(plain.train(), folded.train())
    check(plain.eval(), folded.eval())


def test_same_gradients():
    plain, folded = plain_and_folded(convert=frozen)
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    for model in (plain, folded):
        sum(feature.square().mean() for feature in model(x)).backward()
    for (name, expected), ours in zip(plain.named_parameters(), folded.parameters(), strict=True):
        assert expected.grad.any()
        torch.testing.assert_close(ours.grad, expected.grad, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("convert", [frozen, lambda model: model], ids=["FrozenBN", "BN"])
def test_new_weights_after_the_first_use(convert):
    plain, folded = (model.eval() for model in plain_and_folded(convert=convert))
    check(plain, folded)
    other = {name: value * 1.1 for name, value in plain.state_dict().items()}
    for model in (plain, folded):
        model.load_state_dict(other)
    check(plain, folded)
    for model in (plain, folded):
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.mul_(2)  # Autograd's version counters do not count this change.
    check(plain, folded)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
@torch.no_grad()
def test_copies_are_independent(duplicate):
    plain, folded = (model.eval() for model in plain_and_folded(convert=frozen))
    twin = duplicate(folded)
    for tensor in (*folded.parameters(), *folded.buffers()):
        tensor.zero_()
    check(plain, twin)


def other_convolution(model):
    """Put another convolution in place, as for images of four channels."""
    model.conv1[0] = nn.Conv2d(3, model.conv1[0].out_channels, 3, stride=2, padding=1)
    return model


def other_norm(model):
    model.bn1 = nn.BatchNorm2d(model.bn1.num_features)
    return model


def other_stem(model):
    """Replace the whole stem: the folded convolution is in a part that the model no longer has."""
    model.conv1 = nn.Sequential(nn.Conv2d(3, model.bn1.num_features, 3, stride=2, padding=1))
    return model


def no_norm(model):
    model.bn1 = nn.Identity()
    return model


@pytest.mark.parametrize("change", [other_convolution, other_norm, other_stem, no_norm])
@pytest.mark.parametrize("convert", [frozen, lambda model: model], ids=["FrozenBN", "BN"])
@torch.no_grad()
def test_parts_that_are_replaced_later(change, convert):
    """The module that is left of a pair does only its own work."""
    plain, folded = plain_and_folded(convert=convert)
    for model in (plain, folded):
        torch.manual_seed(3)
        change(model.eval()).double().eval()
    check(plain, folded)


def test_a_norm_that_is_called_by_keyword_is_left_alone():
    class ByKeyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(input=self.conv(x))

    assert fold_batch_norms(ByKeyword()) == 0


def test_what_another_reader_needs_is_not_folded():
    class Two(nn.Module):
        """A module that reads the output of the convolution, too."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    class Shared(Two):
        """A module with one norm after two calls of a convolution."""

        def forward(self, x):
            return self.norm(self.conv(x)) + self.norm(self.conv(x + 1))

    assert fold_batch_norms(Two()) == 0
    assert fold_batch_norms(Shared()) == 0
    assert fold_batch_norms(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))) == 0


def test_a_model_that_cannot_be_traced_stays_as_it_is():
    class Branches(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    model = Branches(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    before = model(torch.ones(1, 3, 4, 4))
    assert fold_batch_norms(model) == 0
    torch.testing.assert_close(model(torch.ones(1, 3, 4, 4)), before, rtol=0, atol=0)
