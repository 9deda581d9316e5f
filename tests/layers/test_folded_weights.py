"""Images in a row share folded weights, which are never stale."""

import pytest
import torch

from egtr.layers import ConvNorm
from egtr.layers.folded_weights import FoldedWeights
from egtr.modeling.transformer.hybrid_encoder import RepVGGBlock

X = torch.ones(1, 2, 5, 5)


def make_block():
    """Build a block of one merged convolution, three folds in all, with a norm that is not the identity."""
    torch.manual_seed(0)
    block = RepVGGBlock(2).eval()
    with torch.no_grad():
        for norm in (block.conv3x3.norm, block.conv1x1.norm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return block


def train(block):
    optimizer = torch.optim.SGD(block.parameters(), lr=1.0)
    block(X).sum().backward()
    optimizer.step()


def load(block):
    block.load_state_dict({name: value + 1 for name, value in block.state_dict().items()})


def update_statistics(block):
    block.train()(torch.randn(2, 2, 5, 5))
    block.eval()


def test_folded_once():
    block = make_block()
    weights = FoldedWeights(block)
    results, folded = [], []
    with torch.no_grad():
        expected = block(X)
        assert not weights.folded
        for _ in range(2):
            with weights.shared():
                results.append(block(X))
            folded.append(weights.folded.copy())
    assert set(folded[0]) == {block, block.conv3x3.conv, block.conv1x1.conv}
    assert all(folded[0][module] is folded[1][module] for module in folded[0])
    assert all(result.equal(expected) for result in results)


@pytest.mark.parametrize("change", [train, load, update_statistics])
def test_folded_again_after_a_change(change):
    block = make_block()
    weights = FoldedWeights(block)
    with torch.no_grad(), weights.shared():
        before = block(X)
    change(block)
    with torch.no_grad():
        expected = block(X)
        with weights.shared():
            assert block(X).equal(expected)
    assert not expected.equal(before)


def test_other_models_are_not_mixed_up():
    first, second = make_block(), ConvNorm(2, 2, 1).eval()
    with torch.no_grad():
        expected = first(X), second(X)
        with FoldedWeights(first).shared():
            first(X)
            with FoldedWeights(second).shared():
                assert second(X).equal(expected[1]) and first(X).equal(expected[0])


def test_gradients_reach_the_parameters():
    block = make_block()
    with FoldedWeights(block).shared():
        with torch.no_grad():
            block(X)
        block(X).sum().backward()
    assert block.conv1x1.conv.weight.grad.abs().sum() > 0


def test_a_model_of_inference_mode():
    """Its tensors do not count their changes, so nothing is shared."""
    with torch.inference_mode():
        block = make_block()
        weights = FoldedWeights(block)
        with weights.shared():
            before = block(X)
        block.conv1x1.conv.weight.add_(1)
        with weights.shared():
            assert not block(X).equal(before) and not weights.folded
