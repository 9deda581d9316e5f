"""Relations follow their objects when other objects are dropped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egtr.structures import DataError, not_crowd, remap_relations


def test_by_hand():
    # Objects 0, 2 and 3 stay and become 0, 1 and 2. The second and the last relation touch object 1.
    relations = [[0, 3, 7], [1, 2, 5], [3, 2, 0], [2, 2, 4], [0, 1, 7]]
    remapped = remap_relations(relations, [True, False, True, True])
    assert remapped.tolist() == [[0, 2, 7], [2, 1, 0], [1, 1, 4]]
    assert remapped.dtype == np.int64


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_remapped_relations_join_the_same_objects(kept, data):
    index = st.integers(0, len(kept) - 1)
    relations = data.draw(st.lists(st.tuples(index, index, st.integers(0, 9)), max_size=8))
    before = np.array(relations, dtype=np.int64).reshape(-1, 3)
    remapped = remap_relations(before, kept)
    # Objects are compared by name, since their numbers change.
    names = [f"object {i}" for i in range(len(kept))]
    left = [name for name, stays in zip(names, kept, strict=True) if stays]
    expected = [(names[s], names[o], p) for s, o, p in relations if kept[s] and kept[o]]
    assert [(left[s], left[o], p) for s, o, p in remapped.tolist()] == expected
    assert before.tolist() == [list(row) for row in relations]


@pytest.mark.parametrize("relations", [[], np.zeros((0, 3))])
@pytest.mark.parametrize("kept", [[], [True]])
def test_no_relations(relations, kept):
    assert remap_relations(relations, kept).shape == (0, 3)


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        ([[0, 2, 0]], "a.png: field relations names object 2, which is not among its 2 annotations"),
        ([[0, 1, 0], [-1, 0, 0]], "a.png: field relations names object -1, "),
        # Six numbers, but not two relations.
        ([[0, 1], [1, 0], [0, 1]], r"a.png: field relations has shape \(3, 2\)"),
    ],
)
def test_bad_relations_are_named(relations, message):
    with pytest.raises(DataError, match=message):
        remap_relations(relations, [True, False], "a.png")


def test_crowds():
    assert not_crowd([{"iscrowd": 0}, {"iscrowd": 1}, {}]).tolist() == [True, False, True]
    assert not_crowd([]).shape == (0,) and not_crowd([]).dtype == bool
