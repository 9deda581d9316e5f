"""Records that list one pair in several rows, brought to what a protocol lets into its rankings."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from egtr.structures import Prediction


class Entries(NamedTuple):
    """The record that each ranking reads; one and the same wherever conventions agree.

    Attributes:
        constrained: for rankings with graph constraint, where a row enters with its best predicate.
        unconstrained: for those in which a row enters with several.
    """

    constrained: Prediction
    unconstrained: Prediction


def select_entries(prediction: Prediction, entries: str) -> Entries:
    """Rows as the convention ``entries`` wants them, see :class:`~egtr.evaluation.protocols.Protocol`.

    A record that lists every pair once comes back as it is.
    """
    if entries == "all" or not repeats_pairs(prediction):
        return Entries(prediction, prediction)
    merged = merge_pairs(prediction)
    return Entries(merged if entries == "pair" else distinct_triplets(prediction), merged)


def repeats_pairs(prediction: Prediction) -> bool:
    """Whether some (subject, object) has more than one row."""
    keys = _keys(prediction)
    # Dense records are in order, and looking costs far less than sorting.
    return not (keys[1:] > keys[:-1]).all() and len(np.unique(keys)) < len(keys)


def merge_pairs(prediction: Prediction) -> Prediction:
    """One row a pair, with the best relation x connectivity of each predicate, and connectivity 1."""
    keys, row = np.unique(_keys(prediction), return_inverse=True)
    relation = np.zeros((len(keys), prediction.relation.shape[1]), dtype=np.float32)
    np.maximum.at(relation, row, prediction.relation * prediction.connectivity[:, None])
    pairs = np.stack(np.divmod(keys, max(prediction.num_queries, 1)), axis=1)
    return replace(prediction, pairs=pairs, connectivity=np.ones(len(keys)), relation=relation)


def distinct_triplets(prediction: Prediction) -> Prediction:
    """Of rows that agree in pair and best predicate only the one of highest score."""
    num_predicates = prediction.relation.shape[1]
    if num_predicates == 0:
        return prediction
    best = prediction.relation.argmax(axis=1)
    scores = prediction.relation[np.arange(len(best)), best] * prediction.connectivity
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique((_keys(prediction) * num_predicates + best)[order], return_index=True)
    return select_rows(prediction, np.sort(order[first]))


def select_rows(prediction: Prediction, rows: np.ndarray) -> Prediction:
    """The record with some of its rows only; (Q,) row numbers or (M,) bool."""
    return replace(
        prediction,
        pairs=prediction.pairs[rows],
        connectivity=prediction.connectivity[rows],
        relation=prediction.relation[rows],
    )


def _keys(prediction: Prediction) -> np.ndarray:
    """(M,) one integer for each (subject, object), the same for the same pair."""
    return prediction.pairs[:, 0] * prediction.num_queries + prediction.pairs[:, 1]
