import numpy as np
import pytest

from egtr.data import RelationStatistics
from egtr.structures import EGTRError


def _record(classes, relations, crowd=()):
    annotations = [{"category_id": label, "iscrowd": int(k in crowd)} for k, label in enumerate(classes)]
    return {"file_name": "picture.png", "image_id": 7, "annotations": annotations, "relations": relations}


def test_hand_counted():
    records = [
        # Objects of classes 2, 0, 2. (0 -> 1) and (2 -> 1) are both class 2 -> class 0, predicate 1: two in one cell.
        _record([2, 0, 2], [[0, 1, 1], [2, 1, 1], [0, 2, 0]]),
        _record([0, 1], [[0, 1, 1]]),
        _record([1], []),
        _record([], []),
    ]
    # A generator: the dicts may be streamed.
    statistics = RelationStatistics.from_dataset_dicts((record for record in records), 3, 3)
    expected = np.zeros((3, 3, 3), dtype=np.int64)
    expected[2, 0, 1] = 2
    expected[2, 2, 0] = 1
    expected[0, 1, 1] = 1
    assert statistics.triplet_counts.dtype == np.int64
    np.testing.assert_array_equal(statistics.triplet_counts, expected)


def test_relations_of_crowd_annotations_do_not_count():
    records = [_record([0, 1, 1], [[0, 1, 0], [0, 2, 0]], crowd={2})]
    statistics = RelationStatistics.from_dataset_dicts(records, 2, 1)
    assert statistics.triplet_counts.sum() == 1
    assert statistics.triplet_counts[0, 1, 0] == 1


def test_no_triplets_at_all():
    statistics = RelationStatistics.from_dataset_dicts([_record([0, 1], [])], 2, 4)
    assert statistics.triplet_counts.shape == (2, 2, 4)
    assert not statistics.triplet_counts.any()


@pytest.mark.parametrize(
    "record, words",
    [
        (_record([0, 5], [[0, 1, 0]]), ["picture.png", "image id 7", "category_id 5", "NUM_CLASSES = 3"]),
        (_record([0, 1], [[0, 1, 4]]), ["picture.png", "image id 7", "predicate 4", "NUM_PREDICATES = 2"]),
        (_record([0, 1], [[0, 1, -1]]), ["predicate -1", "NUM_PREDICATES = 2"]),
        (_record([0, 1], [[0, 2, 0]]), ["picture.png", "image id 7", "object 2", "2 annotations"]),
    ],
)
def test_ids_beyond_the_configured_numbers_are_refused(record, words):
    with pytest.raises(EGTRError) as error:
        RelationStatistics.from_dataset_dicts([record], 3, 2)
    for word in words:
        assert word in str(error.value)
