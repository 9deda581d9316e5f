"""Predictions may list a pair more than once; this selects the rows that a protocol ranks."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from egtr.structures import Prediction


class Entries(NamedTuple):
    """The record that each ranking reads; both are the same object if the conventions agree.

    Attributes:
        constrained: for rankings with graph constraint: each row enters with its best predicate.
        unconstrained: for rankings without it: each row enters with several predicates.
    """

    constrained: Prediction
    unconstrained: Prediction


def select_entries(prediction: Prediction, entries: str) -> Entries:
    """Select rows by the convention ``entries``, see :class:`~egtr.evaluation.Protocol`.

    A record that lists every pair once is returned as it is.
    """
    if entries == "all" or not repeats_pairs(prediction):
        return Entries(prediction, prediction)
    merged = merge_pairs(prediction)
    return Entries(merged if entries == "pair" else distinct_triplets(prediction), merged)


def repeats_pairs(prediction: Prediction) -> bool:
    """Check if some (subject, object) has more than one row."""
    keys = _keys(prediction)
    # Dense records are in order, and a look at them costs far less than sorting.
    return not (keys[1:] > keys[:-1]).all() and len(np.unique(keys)) < len(keys)


def merge_pairs(prediction: Prediction) -> Prediction:
    """Merge the rows of each pair: the best relation x connectivity of each predicate, and connectivity 1."""
    keys, row = np.unique(_keys(prediction), return_inverse=True)
    relation = np.zeros((len(keys), prediction.relation.shape[1]), dtype=np.float32)
    np.maximum.at(relation, row, prediction.relation * prediction.connectivity[:, None])
    pairs = np.stack(np.divmod(keys, max(prediction.num_queries, 1)), axis=1)
    return replace(prediction, pairs=pairs, connectivity=np.ones(len(keys)), relation=relation)


def distinct_triplets(prediction: Prediction) -> Prediction:
    """Keep the row with the highest score of those that agree in pair and best predicate."""
    num_predicates = prediction.relation.shape[1]
    if num_predicates == 0:
        return prediction
    best = prediction.relation.argmax(axis=1)
    scores = prediction.relation[np.arange(len(best)), best] * prediction.connectivity
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique((_keys(prediction) * num_predicates + best)[order], return_index=True)
    return select_rows(prediction, np.sort(order[first]))


def select_rows(prediction: Prediction, rows: np.ndarray) -> Prediction:
    """Keep some rows of a record, given by (Q,) row numbers or (M,) bool."""
    return replace(
        prediction,
        pairs=prediction.pairs[rows],
        connectivity=prediction.connectivity[rows],
        relation=prediction.relation[rows],
    )


def _keys(prediction: Prediction) -> np.ndarray:
    """Make an integer for each row, the same for the same (subject, object): (M,)."""
    return prediction.pairs[:, 0] * prediction.num_queries + prediction.pairs[:, 1]
