"""Pruned inference gives the rankings and metrics of all pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.evaluation import PredictionMeta, PredictionWriter, Scorer
from egtr.modeling.relation import (
    PAIR_FUNCTION_REGISTRY,
    RELATION_HEAD_REGISTRY,
    ConcatPairs,
    HadamardPairs,
    MLPRelationHead,
    SumPairs,
    pruning,
    search_best_pairs,
)
from egtr.structures import EGTRError, GroundTruth, TripletCounts, rank_triplets, ranking
from tests.evaluation.predictions import assert_scored_alike
from tests.modeling.models import image, small_model


def scores_of(kind, rng, *shape):
    """Draw float32 probabilities of a certain character."""
    if kind == "random":
        return rng.random(shape, dtype=np.float32) ** 4
    if kind == "equal":
        return np.full(shape, 0.5, dtype=np.float32)
    if kind == "zero":
        return np.zeros(shape, dtype=np.float32)
    if kind == "saturated":
        return rng.choice(np.float32([0, 1]), shape)
    if kind == "tiny":
        return rng.choice(np.float32([1e-44, 1e-38, 1e-30, 1e-20, 1]), shape)
    assert kind == "few values"
    return rng.integers(0, 5, shape).astype(np.float32) / 4


KINDS = ["random", "equal", "zero", "saturated", "tiny", "few values"]


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    num_queries=st.integers(0, 24),
    top_k=st.sampled_from([1, 2, 5, 20, 50]),
    kinds=st.tuples(*[st.sampled_from(KINDS)] * 3),
)
def test_every_pair_of_the_best_is_found(seed, num_queries, top_k, kinds):
    """The search in torch finds what the rule in numpy needs, and all ties; it may evaluate every pair."""
    rng = np.random.default_rng(seed)
    num_pairs = num_queries**2
    pair_scores = [torch.from_numpy(scores_of(kind, rng, num_pairs)).double() for kind in kinds[:2]]
    relation = torch.from_numpy(scores_of(kinds[2], rng, num_pairs, 3))
    related = ~torch.eye(num_queries, dtype=torch.bool).flatten()
    asked = []

    def evaluate(rows):
        asked.extend(rows.tolist())
        return relation[rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "_WORTH_WHILE", 1.0)
        found = search_best_pairs(pair_scores, related, top_k, evaluate)
    assert len(set(asked)) == len(asked)
    # The first step evaluates 2 pairs for each triplet, which must be less than a fifth of all.
    assert (found is None) == (10 * top_k > num_pairs)
    if found is None:
        return
    rows, values = found
    assert rows.tolist() == sorted(asked)
    assert torch.equal(values, relation[rows])
    for bounds in pair_scores:
        scores = relation.numpy().max(1) * bounds.numpy()
        for among in (np.flatnonzero(related), np.arange(num_pairs)):
            # By sorting all pairs by their best triplet, in float64.
            last = np.sort(scores[among])[::-1][top_k - 1]
            assert set(among[scores[among] >= last]) <= set(rows.tolist())
            needed = ranking.rank_threshold(scores[among], top_k)
            assert set(among[scores[among] >= needed]) <= set(rows.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [1, 7, 20, 21])
def test_the_threshold_in_torch_is_that_in_numpy(kind, top_k):
    """Thresholds of 20 float32 scores; 21 are more than there are."""
    scores = scores_of(kind, np.random.default_rng(top_k), 20)
    expected = ranking.rank_threshold(scores, top_k)
    assert pruning.rank_threshold(torch.from_numpy(scores), top_k) == expected
    assert (expected == 0) == (top_k == 21 or np.sort(scores)[::-1][top_k - 1] <= 1e-37)


def test_few_pairs_are_evaluated_if_few_are_promising():
    """1,000 pairs: ten of bound 1, of which nine score 0.5 and one 0.1, and 990 of bound 0.4."""
    bounds = torch.where(torch.arange(1000) < 10, 1.0, 0.4)
    relation = torch.where(torch.arange(1000) < 9, 0.5, 0.1)[:, None]
    related = torch.ones(1000, dtype=torch.bool)
    rows, _ = search_best_pairs([bounds], related, 9, lambda rows: relation[rows])
    # The first block holds the ten and eight others; then the ninth best scores 0.5, which 0.4 cannot reach.
    assert set(range(10)) < set(rows.tolist()) and len(rows) == 18
    # The tenth best scores 0.1: every pair might reach it, and evaluating all together is cheaper.
    assert search_best_pairs([bounds], related, 10, lambda rows: relation[rows]) is None
    # Of 100 pairs none is evaluated: 18 are too large a part.
    assert search_best_pairs([bounds[:100]], related[:100], 9, lambda rows: 1 / 0) is None


def test_a_hopeless_search_ends_early():
    """Bounds of 1 and triplets of 0.5: after two steps of 20 pairs each of the 10,000 might still be better."""
    asked = []

    def evaluate(rows):
        asked.extend(rows.tolist())
        return torch.full((len(rows), 1), 0.5)

    assert search_best_pairs([torch.ones(10_000)], torch.ones(10_000, dtype=torch.bool), 10, evaluate) is None
    assert len(asked) == 40


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_left_to_rankings(bad):
    bounds = torch.ones(100)
    bounds[99] = bad
    assert search_best_pairs([bounds], torch.ones(100, dtype=torch.bool), 1, lambda rows: 1 / 0) is None


def sharp_model(*options):
    """40 queries and 1,600 pairs; few are promising, since the weights of the relation part are large."""
    model = small_model("MODEL.EGTR.NUM_QUERIES", 40, *options).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.relation.named_parameters():
            if name.endswith("weight"):
                parameter.normal_(0, 0.3, generator=generator)
        model.transformer.class_heads[-1].weight.normal_(0, 1, generator=generator)
    model.set_relation_statistics(torch.randint(0, 3, (5, 5, 4), generator=generator))
    return model


def predict(model, inputs):
    return [result["scene_graph"] for result in model(inputs)]


def predict_dense(model, inputs):
    """Predict without pruning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "prune_pairs", False)
        return predict(model, inputs)


def images(count=4):
    generator = torch.Generator().manual_seed(2)
    sizes = [(48, 64), (64, 40), (32, 96), (56, 56)]
    inputs = [image(*sizes[k % 4]) for k in range(count)]
    for record in inputs:
        record["image"] = torch.randint(0, 256, record["image"].shape, dtype=torch.uint8, generator=generator)
    return inputs


OPTIONS = [
    (),
    ("MODEL.EGTR.RELATION.LOGIT_ADJUSTMENT.ENABLED", True),
    ("MODEL.EGTR.RELATION.FREQUENCY_BIAS", "none"),
    ("MODEL.EGTR.RELATION.CONNECTIVITY_HEAD", ""),
    ("MODEL.EGTR.RELATION.SOURCE.GATE", False),
    ("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", "SumPairs"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options[-1:])))
def test_the_model_ranks_as_if_all_pairs_were_there(options, monkeypatch):
    """In a batch of different sizes every ranking agrees in its scores and, except for near ties, in its triplets."""
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    model, inputs = sharp_model(*options), images()
    pruned, dense = predict(model, inputs), predict_dense(model, inputs)
    for ours, whole in zip(pruned, dense, strict=True):
        assert whole.prediction.max_rank is None and whole.prediction.pair_share == 1
        assert ours.prediction.max_rank == 100 and ours.prediction.pair_share < 1
        np.testing.assert_allclose(ours.triplet_scores, whole.triplet_scores, atol=1e-6)
        for constraint in (True, False):
            for score in ("softmax", "sigmoid"):
                a, b = (rank_triplets(g.prediction, 100, constraint, score) for g in (ours, whole))
                np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4, atol=1e-6)
                # Neighbours with nearly equal scores may trade places.
                gaps = np.abs(np.diff(b.scores, prepend=2, append=-1))
                distinct = (gaps[:-1] > 1e-5) & (gaps[1:] > 1e-5)
                distinct[-1] = False
                assert distinct.sum() > 5
                for field in ("subjects", "objects", "predicates"):
                    np.testing.assert_array_equal(getattr(a, field)[distinct], getattr(b, field)[distinct])


def test_every_metric_of_every_protocol_is_the_same(monkeypatch):
    """The annotations are the model's own best triplets and some others."""
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    model, inputs = sharp_model(), images()
    pruned, dense = predict(model, inputs), predict_dense(model, inputs)
    truths = []
    for index, graph in enumerate(dense):
        # Several queries see the same object: one of them per place and class becomes an annotation.
        chosen = np.unique(graph.triplets[::9, :2])
        triplets = [[np.searchsorted(chosen, s), np.searchsorted(chosen, o), p] for s, o, p in graph.triplets[::9]]
        triplets += [[1, 0, 3], [0, 2, 1]]
        truths.append(GroundTruth(graph.boxes[chosen], graph.classes[chosen], triplets, index))
    assert any(graph.prediction.pair_share < 0.7 for graph in pruned)
    # Some annotated triplets are missing from the training set, which has one triplet of each class with itself.
    training = TripletCounts([[c, c, 0] for c in range(5)], [9, 4, 3, 2, 1], num_classes=5, num_predicates=4)
    records = [[graph.prediction for graph in graphs] for graphs in (dense, pruned)]
    assert_scored_alike(*records, truths, (20, 50, 100), training)


def test_in_bfloat16(monkeypatch):
    """Under autocast, scores agree in the digits that bfloat16 has."""
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    model, inputs = sharp_model(), images(1)
    with torch.autocast("cpu", torch.bfloat16):
        (ours,), (whole,) = predict(model, inputs), predict_dense(model, inputs)
    assert ours.prediction.pair_share < 1
    np.testing.assert_allclose(ours.triplet_scores, whole.triplet_scores, atol=0.03)


def test_a_pair_function_that_does_not_separate_is_asked_about_all_pairs(monkeypatch):
    """Even if it is registered as pairwise: only separable pair functions can choose pairs."""
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    monkeypatch.setattr(PAIR_FUNCTION_REGISTRY, "_pairwise", {ConcatPairs, SumPairs, HadamardPairs})
    model = sharp_model("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", "HadamardPairs")
    assert predict(model, images(1))[0].prediction.pair_share == 1


def test_a_head_that_makes_no_promise_is_asked_about_all_pairs(monkeypatch):
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    monkeypatch.setattr(RELATION_HEAD_REGISTRY, "_pairwise", set())
    (graph,) = predict(sharp_model(), images(1))
    assert graph.prediction.max_rank is None and graph.prediction.pair_share == 1


def test_the_key_switches_pruning_off(monkeypatch):
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    (graph,) = predict(sharp_model("MODEL.EGTR.RELATION.PRUNE_PAIRS", False), images(1))
    assert graph.prediction.max_rank is None and graph.prediction.pair_share == 1


@pytest.fixture
def entries(monkeypatch):
    """The entries of the registry of heads, which a test may extend."""
    monkeypatch.setattr(RELATION_HEAD_REGISTRY, "_obj_map", dict(RELATION_HEAD_REGISTRY._obj_map))
    monkeypatch.setattr(RELATION_HEAD_REGISTRY, "_pairwise", set(RELATION_HEAD_REGISTRY._pairwise))


def test_registration_says_which_classes_are_pairwise(entries):
    """A subclass does not inherit it."""

    @RELATION_HEAD_REGISTRY.register()
    class Plain(MLPRelationHead):
        pass

    @RELATION_HEAD_REGISTRY.register(pairwise=True)
    class Pairwise(MLPRelationHead):
        pass

    assert [RELATION_HEAD_REGISTRY.is_pairwise(kind) for kind in (MLPRelationHead, Plain, Pairwise)] == [1, 0, 1]
    assert RELATION_HEAD_REGISTRY.get("Plain") is Plain


@pytest.mark.parametrize("promise", [True, False])
def test_the_attribute_of_the_class_answers_for_one_release(entries, promise):
    class Old(MLPRelationHead):
        pairwise = promise

    with pytest.warns(DeprecationWarning, match=r"Old: .* register\(pairwise=True\)"):
        RELATION_HEAD_REGISTRY.register(Old)
    assert RELATION_HEAD_REGISTRY.is_pairwise(Old) is promise


def test_untrained_models_look_at_all_pairs_side_by_side():
    graphs = predict(small_model("MODEL.EGTR.NUM_QUERIES", 40).eval(), images(1))
    assert graphs[0].prediction.max_rank is None and graphs[0].prediction.pair_share == 1


def test_longer_rankings_than_the_model_was_made_for_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(pruning, "_WORTH_WHILE", 1.0)
    (graph,) = predict(sharp_model(), images(1))
    truth = GroundTruth(graph.boxes[:1], graph.classes[:1], [], 7)
    with pytest.raises(EGTRError, match=r"rankings of 100 triplets, not of 101; add 101 to TEST.SCENE_GRAPH.TOPK"):
        rank_triplets(graph.prediction, 101)
    with pytest.raises(EGTRError, match=r"image 7: Prediction: its pairs suffice .* add 200 to"):
        Scorer("reference", (200,)).score(graph.prediction, truth)
    with pytest.raises(EGTRError, match="'predcls' .*looks at every pair|needs one query for each"):
        Scorer("reference", task="predcls").score(graph.prediction, truth)
    with PredictionWriter(tmp_path / "whole.npz", PredictionMeta(max_rank=None)) as writer:
        with pytest.raises(EGTRError, match="image 7: pairs are left out"):
            writer.write(7, graph.prediction)
    (graph,) = predict(sharp_model("TEST.SCENE_GRAPH.TOPK", [20, 150]), images(1))
    assert graph.prediction.max_rank == len(rank_triplets(graph.prediction, 150).scores) == 150
