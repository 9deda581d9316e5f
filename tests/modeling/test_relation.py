"""Factorised pair features, compared with the literal tensor of the paper, and the frequency bias by hand."""

import math

import pytest
import torch
from torch import nn

from egtr.layers import MLP
from egtr.modeling.relation import PAIR_FUNCTION_REGISTRY, ConcatPairs, FrequencyBias, RelationSource, pair_features
from egtr.structures import ConfigurationError

PAIR_FUNCTIONS = ["ConcatPairs", "SumPairs", "HadamardPairs", "DotProductPairs"]


def literal_sources(name, subjects, objects):
    """S of every source and pair, (B, S, N, N, D), as the paper writes it."""
    n = subjects.shape[2]
    q = subjects[:, :, :, None].expand(-1, -1, -1, n, -1)
    k = objects[:, :, None].expand(-1, -1, n, -1, -1)
    return {
        "ConcatPairs": lambda: torch.cat([q, k], dim=-1),
        "SumPairs": lambda: q + k,
        "HadamardPairs": lambda: q * k,
        "DotProductPairs": lambda: (q * k).sum(-1, keepdim=True) * q.shape[-1] ** -0.5,
    }[name]()


@pytest.mark.parametrize("with_gate", [True, False])
@pytest.mark.parametrize("name", PAIR_FUNCTIONS)
def test_pair_features_equal_the_literal_tensor(name, with_gate):
    torch.manual_seed(0)
    subjects, objects = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    pairs = PAIR_FUNCTION_REGISTRY.get(name)
    width = pairs.width(4)
    gate = nn.Linear(width, 1).double() if with_gate else None
    layer = nn.Linear(width, 6).double()
    features = pairs(subjects, objects, gate)

    sources = literal_sources(name, subjects, objects)
    gates = gate(sources).sigmoid() if with_gate else torch.ones_like(sources[..., :1])
    combined = (gates * sources).sum(1)
    torch.testing.assert_close(features.linear(layer), layer(combined))
    state = torch.get_rng_state()
    torch.testing.assert_close(features.dense(), combined)
    assert torch.equal(torch.get_rng_state(), state)
    if with_gate:
        torch.testing.assert_close(features.gates, gates.squeeze(-1))
    else:
        assert features.gates is None


@pytest.mark.parametrize("with_gate", [True, False])
@pytest.mark.parametrize("block", [1, 2, 4, 5, 1000])
@pytest.mark.parametrize("cached", [0, 2**18])
@pytest.mark.parametrize("name", PAIR_FUNCTIONS)
def test_heads_in_blocks_of_pairs_equal_heads_of_all_pairs(name, cached, block, with_gate, monkeypatch):
    """5 queries: blocks of 1, of 1 and 2, of 2 and 3, of all; sums by products of matrices, and in the cache."""
    monkeypatch.setitem(pair_features._BLOCK, "cpu", block)
    monkeypatch.setattr(pair_features, "_CACHED", cached)
    torch.manual_seed(0)
    subjects, objects = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    pairs = PAIR_FUNCTION_REGISTRY.get(name)
    mlp = MLP(pairs.width(4), 6, 2).double()
    features = pairs(subjects, objects, nn.Linear(pairs.width(4), 1).double() if with_gate else None)
    whole = mlp(features.dense())
    with torch.no_grad():
        torch.testing.assert_close(features.apply(mlp.layers[0], mlp.after_first), whole)
        one_number = features.apply(mlp.layers[0], lambda hidden: mlp.after_first(hidden)[..., 0])
        torch.testing.assert_close(one_number, whole[..., 0])
    with_gradient = features.apply(mlp.layers[0], mlp.after_first)
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient, whole)


@pytest.mark.parametrize("with_gate", [True, False])
@pytest.mark.parametrize("name", ["ConcatPairs", "SumPairs"])
def test_chosen_pairs_equal_their_rows_of_all_pairs(name, with_gate):
    torch.manual_seed(0)
    subjects, objects = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    pairs = PAIR_FUNCTION_REGISTRY.get(name)
    mlp = MLP(pairs.width(4), 6, 2).double()
    features = pairs(subjects, objects, nn.Linear(pairs.width(4), 1).double() if with_gate else None)
    chosen = torch.tensor([[0, 4], [3, 3], [4, 0], [0, 4]])
    for image in range(2):
        selected = features.of_image(image).select(*chosen.T)
        expected = mlp(features.dense())[image, chosen[:, 0], chosen[:, 1]]
        torch.testing.assert_close(mlp.after_first(selected.linear(mlp.layers[0])), expected)
        torch.testing.assert_close(selected.apply(mlp.layers[0], mlp.after_first), expected)
    none = features.of_image(0).select(*chosen[:0].T)
    assert mlp.after_first(none.linear(mlp.layers[0])).shape == (0, 2)


def test_a_pair_function_that_changes_another_one_is_asked_itself():
    """The fast ways of ConcatPairs must not bypass a subclass that doubles its result."""

    class Doubled(ConcatPairs):
        def linear(self, layer):
            return 2 * super().linear(layer)

    torch.manual_seed(0)
    subjects, objects, gate = torch.randn(1, 3, 5, 4), torch.randn(1, 3, 5, 4), nn.Linear(8, 1)
    layer = nn.Linear(8, 6)
    with torch.no_grad():
        plain, doubled = (kind(subjects, objects, gate) for kind in (ConcatPairs, Doubled))
        expected = 2 * plain.apply(layer, torch.relu)
        torch.testing.assert_close(doubled.apply(layer, torch.relu), expected)
    is_pairwise = PAIR_FUNCTION_REGISTRY.is_pairwise
    assert is_pairwise(ConcatPairs) and not is_pairwise(Doubled)


@pytest.mark.parametrize("name", PAIR_FUNCTIONS)
def test_gradients_reach_queries_keys_and_gate(name):
    torch.manual_seed(0)
    source = RelationSource(8, 2, pair_function=name)
    queries = [torch.randn(1, 3, 8, requires_grad=True) for _ in range(2)]
    keys = [torch.randn(1, 3, 8, requires_grad=True) for _ in range(2)]
    hidden = torch.randn(1, 3, 8, requires_grad=True)
    source(queries, keys, hidden).linear(nn.Linear(source.output_dim, 2)).square().sum().backward()
    for tensor in (*queries, *keys, hidden, *source.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_only_chosen_layers_are_read():
    torch.manual_seed(0)
    source = RelationSource(8, 3, layers=[1], last_hidden_state=False)
    queries, keys = [torch.randn(1, 3, 8) for _ in range(3)], [torch.randn(1, 3, 8) for _ in range(3)]
    before = source(queries, keys, torch.randn(1, 3, 8)).dense()
    for layer in (0, 2):
        queries[layer], keys[layer] = torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    torch.testing.assert_close(source(queries, keys, torch.randn(1, 3, 8)).dense(), before)
    queries[1] = torch.randn(1, 3, 8)
    assert not torch.allclose(source(queries, keys, torch.randn(1, 3, 8)).dense(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [3]}, "has layers 0..2"),
        ({"layers": [], "last_hidden_state": False}, "no source is left"),
        ({"pair_function": "Outer"}, "'Outer' is not registered. Known: ConcatPairs"),
    ],
)
def test_impossible_sources_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        RelationSource(8, 3, **options)


def test_frequency_table_by_hand():
    """Classes a=0, b=1; (a, b) was seen 3 times with predicate 0 and once with predicate 1, (b, a) never."""
    counts = torch.zeros(2, 2, 2)
    counts[0, 1] = torch.tensor([3.0, 1.0])
    bias = FrequencyBias(2, 2, kind="reference", eps=1e-12)
    bias.set_counts(counts)
    torch.testing.assert_close(bias.table[0, 1], torch.tensor([math.log(3.0), 0.0]))
    assert (bias.table[1, 0] == 0).all()  # log(0 + e / e)
    assert bias.table.shape == (3, 3, 2) and (bias.table[2] == 0).all() and (bias.table[:, 2] == 0).all()
    torch.testing.assert_close(bias.predicate_frequency, torch.tensor([0.75, 0.25]))

    bias = FrequencyBias(2, 2, kind="probability", eps=1e-12)
    bias.set_counts(counts)
    torch.testing.assert_close(bias.table[0, 1].exp(), torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(bias.table[1, 0].exp(), torch.tensor([0.5, 0.5]))


def test_frequency_bias_follows_the_argmax_classes():
    counts = torch.zeros(2, 2, 1)
    counts[0, 1, 0] = 5
    bias = FrequencyBias(2, 1)
    bias.set_counts(counts)
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]]])  # query 0 is class 0, query 1 is class 1
    added = bias(torch.zeros(1, 2, 2, 1), logits)[0, ..., 0]
    assert float(added[0, 1]) == pytest.approx(math.log(5))
    assert float(added[1, 0]) == 0


def test_logit_adjustment_by_hand():
    bias = FrequencyBias(1, 2, tau=0.3)
    bias.predicate_frequency.copy_(torch.tensor([0.75, 0.25]))
    adjusted = bias.adjust(torch.zeros(1, 1, 1, 2))[0, 0, 0]
    torch.testing.assert_close(adjusted, torch.tensor([-0.3 * math.log(0.75), -0.3 * math.log(0.25)]))
    torch.testing.assert_close(FrequencyBias(1, 2).adjust(torch.ones(1, 1, 1, 2)), torch.ones(1, 1, 1, 2))


def test_a_data_set_without_relations_is_uniform():
    bias = FrequencyBias(2, 4)
    bias.set_counts(torch.zeros(2, 2, 4))
    torch.testing.assert_close(bias.predicate_frequency, torch.full((4,), 0.25))
    assert torch.isfinite(bias.table).all()


def test_counts_of_another_label_set_are_refused():
    with pytest.raises(ConfigurationError, match="NUM_CLASSES or NUM_PREDICATES"):
        FrequencyBias(2, 3).set_counts(torch.zeros(2, 2, 4))
    with pytest.raises(ConfigurationError, match="choose one of reference, probability, none"):
        FrequencyBias(2, 3, kind="motifs")
