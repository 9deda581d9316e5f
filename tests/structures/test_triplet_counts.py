"""Counts of class triplets, worked out by hand."""

import numpy as np
import pytest

from egtr.structures import DataError, TripletCounts


@pytest.fixture
def counts():
    # Triplet (0, 1, 2) twice, the others once; 2 classes, 4 predicates.
    return TripletCounts.from_class_triplets(np.array([[0, 1, 2], [1, 1, 0], [0, 1, 2], [1, 0, 2]]), 2, 4)


def test_counts_each_triplet(counts):
    assert counts.triplets.tolist() == [[0, 1, 2], [1, 0, 2], [1, 1, 0]]
    assert counts.counts.tolist() == [2, 1, 1]
    assert counts.predicate_counts.tolist() == [1, 0, 3, 0]
    dense = counts.dense()
    assert dense.shape == (2, 2, 4) and dense.sum() == 4 and dense[0, 1, 2] == 2


def test_contains(counts):
    # Class 2 does not exist: (0, 2, 2) must not be taken for (1, 0, 2), which has the same position in a flat table.
    assert counts.contains([[0, 1, 2], [0, 1, 1], [0, 2, 2], [1, 1, 0]]).tolist() == [True, False, False, True]
    assert counts.contains(np.zeros((0, 3))).shape == (0,)


def test_groups(counts):
    # By count: predicate 2 (3), 0 (1), then 1 and 3 (0). Four predicates make groups of 1, 1 and 2.
    groups = {name: ids.tolist() for name, ids in counts.predicate_groups().items()}
    assert groups == {"head": [2], "body": [0], "tail": [1, 3]}


def test_fifty_predicates_make_16_17_17():
    groups = TripletCounts(np.zeros((0, 3)), np.zeros(0), 1, 50).predicate_groups()
    assert [len(groups[name]) for name in ("head", "body", "tail")] == [16, 17, 17]


def test_impossible_counts():
    with pytest.raises(DataError, match="counts holds 0; leave out"):
        TripletCounts([[0, 0, 0], [0, 0, 1]], [1, 0], 1, 2)
    with pytest.raises(DataError, match="holds a row twice; add their counts up"):
        TripletCounts([[0, 0, 1], [0, 0, 1]], [1, 2], 1, 2)


def test_ids_that_do_not_fit():
    with pytest.raises(DataError, match="does not fit 2 classes and 3 predicates"):
        TripletCounts.from_class_triplets([[0, 2, 0]], 2, 3)
