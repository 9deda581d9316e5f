"""Rankings of pruned predictions, compared with the literal model, and with all pairs for adversarial scores."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.literal import make_literal, rank
from egtr.modeling import EGTROutput
from egtr.modeling.postprocessing import build_prediction, build_pruned_prediction
from egtr.modeling.relation import pruning
from egtr.structures import candidate_pairs, rank_candidates, rank_triplets
from egtr.structures.prediction import OBJECT_SCORES
from tests.modeling.test_pruning import images, sharp_model

# Rounding may change a score this much, and with it the order of two triplets.
TOLERANCE = 1e-5


def twin_model(*options):
    """72 queries, two of each kind, so that four triplets at a time have equal scores; object scores differ."""
    model = sharp_model("MODEL.EGTR.NUM_QUERIES", 72, *options)
    with torch.no_grad():
        model.transformer.query_embed.weight[1::2] = model.transformer.query_embed.weight[::2]
        model.transformer.class_heads[-1].weight.mul_(0.3)
        for name, parameter in model.relation.named_parameters():
            if name.endswith("weight"):
                parameter.mul_(0.7)
    return model


def assert_dense_order(ranked, triplets, scores):
    """Assert that K triplets are the best of all, in the order of their scores as far as these differ.

    Args:
        ranked: RankedTriplets of the model.
        triplets, scores: (S, 3) and (S,), all triplets that can be ranked, and their scores by the literal model.
    """
    score_of = np.full(triplets.max(0) + 1, -np.inf)
    score_of[tuple(triplets.T)] = scores
    found = ranked[:3]
    dense = score_of[found]
    assert np.unique(np.stack(found), axis=1).shape[1] == len(dense)
    np.testing.assert_allclose(ranked.scores, dense, rtol=0, atol=TOLERANCE)
    score_of[found] = -np.inf
    best_later = np.maximum.accumulate(np.append(dense, score_of.max())[::-1])[::-1][1:]
    assert (best_later < dense + TOLERANCE).all()
    # If all scores were equal, any order would pass.
    assert dense[0] - dense[-1] > 0.1
    assert (np.diff(dense) < -TOLERANCE).sum() >= len(dense) // 4 - 1


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.EGTR.RELATION.FREQUENCY_BIAS", "none"),
        ("MODEL.EGTR.RELATION.LOGIT_ADJUSTMENT.ENABLED", True),
    ],
    ids=["plain", "logit_adjustment"],
)
def test_rankings_are_those_of_the_literal_model(options):
    """A padded batch of two images, with and without graph constraint, for both scores of objects."""
    model, inputs = twin_model(*options), images(2)
    with torch.no_grad():
        output = make_literal(model).network(model.preprocess_image(inputs))
    for index, result in enumerate(model(inputs)):
        prediction = result["scene_graph"].prediction
        assert prediction.pair_share < 0.25
        for object_score in OBJECT_SCORES:
            for graph_constraint in (True, False):
                everything = [x.numpy() for x in rank(output, index, 10**6, object_score, graph_constraint)]
                # Place 98 is in the middle of four triplets that tie.
                for top_k in (98, 100):
                    ranked = rank_triplets(prediction, top_k, graph_constraint, object_score)
                    assert_dense_order(ranked, *everything)
                    tied = np.flatnonzero(np.diff(ranked.scores) == 0)
                    assert len(tied) > 50
                    rows = np.stack(ranked[:3], axis=1).tolist()
                    assert all(rows[k] < rows[k + 1] for k in tied)


def logits_of(kind, rng, *shape):
    """Draw logits whose probabilities have a certain character in single precision."""
    if kind == "random":
        return rng.normal(-3, 3, shape)
    if kind == "equal":
        return np.zeros(shape)
    if kind == "nearly equal":  # except for the last digits
        return 0.7 + rng.integers(-3, 4, shape) * 2.0**-22
    if kind == "saturated":  # 0 and 1
        return rng.choice([-1000, 1000], shape)
    if kind == "high":  # 1, and a little less
        return rng.choice([14, 16, 1000], shape)
    if kind == "tiny":  # down to 4e-39, where float32 has lost digits
        return rng.choice([-88.5, -87, -60, -40, 1000], shape)
    if kind == "products of three digits":  # products of any two probabilities have three digits
        return -48.4 + rng.integers(-3, 4, shape) * 2.0**-9
    if kind == "few values":
        return rng.integers(-2, 3, shape)
    assert kind == "outliers"
    return np.where(rng.random(shape) < 0.03, 3, -9) + rng.integers(0, 3, shape)


KINDS = ["random", "equal", "nearly equal", "saturated", "high", "tiny", "few values", "outliers"]
# For objects, connectivity and relations: the order of the factors decides which products are among the best.
ROUNDED = [("nearly equal", "nearly equal", "saturated"), ("products of three digits", "equal", "saturated")]


def adversarial_records(seed, num_queries, max_rank, kinds):
    """Records of one image with the pairs that a search finds, and with all pairs."""
    rng = np.random.default_rng(seed)
    shapes = [(num_queries, 3), (num_queries, num_queries), (num_queries, num_queries, 3)]
    objects, connectivity, relation = (
        torch.tensor(logits_of(kind, rng, *shape), dtype=torch.float32)[None]
        for kind, shape in zip(kinds, shapes, strict=True)
    )
    scores = relation.sigmoid()
    # Stands for heads, with logits that exist already.
    part = SimpleNamespace(
        relation_scores=lambda pairs, classes, subjects, objects: scores[0, subjects, objects],
        relation_logits=lambda pairs, logits: relation,
        frequency_bias=SimpleNamespace(adjust=lambda logits: logits),
    )
    output = EGTROutput(
        logits=objects,
        pred_boxes=torch.zeros(1, num_queries, 4),
        relation_logits=relation,
        connectivity_logits=connectivity,
        hidden_states=[],
        queries=[],
        keys=[],
        gates=None,
        memory=None,
        pairs=SimpleNamespace(of_image=lambda index: None),
    )
    return build_pruned_prediction(output, 0, (9, 9), part, max_rank), build_prediction(output, 0, (9, 9))


def assert_equal_rankings(one, other):
    for ours, wanted in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_rankings_are_those_of_all_pairs(monkeypatch):
    """Rankings agree to the last digit for any scores: they rank the same products, and keep ties with the last."""
    shares = []

    @settings(max_examples=80)
    @given(
        seed=st.integers(0, 10**6),
        num_queries=st.integers(10, 24),
        max_rank=st.integers(1, 10),
        kinds=st.one_of(st.tuples(*[st.sampled_from(KINDS)] * 3), st.sampled_from(ROUNDED)),
        worth_while=st.sampled_from([0.5, 1.0]),
    )
    def check(seed, num_queries, max_rank, kinds, worth_while):
        monkeypatch.setattr(pruning, "_WORTH_WHILE", worth_while)
        pruned, whole = adversarial_records(seed, num_queries, max_rank, kinds)
        shares.append(pruned.pair_share)
        for top_k in {1 + seed % max_rank, max_rank}:
            for object_score in OBJECT_SCORES:
                for graph_constraint, per_pair in ((True, 1), (False, None)):
                    ours, wanted = (
                        rank_triplets(record, top_k, graph_constraint, object_score) for record in (pruned, whole)
                    )
                    assert_equal_rankings(ours, wanted)
                    # Some evaluators allow relations of a query with itself.
                    ours, wanted = (
                        rank_candidates(
                            candidate_pairs(record, record.object_scores(object_score)[0], top_k),
                            top_k,
                            per_pair,
                            True,
                        )
                        for record in (pruned, whole)
                    )
                    assert_equal_rankings(ours, wanted)

    check()
    # If all scores tie or a search gives up, no pair is left out; otherwise most are.
    assert np.less(shares, 0.5).mean() > 0.15
