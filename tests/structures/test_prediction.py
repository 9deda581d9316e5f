"""The record of a prediction: scores of objects by hand, and fields that do not fit."""

import numpy as np
import pytest

from egtr.structures import ConfigurationError, Prediction, PredictionError
from egtr.structures.prediction import choose_object_score, object_scores

LOGITS = np.log(np.array([[1, 3], [4, 1]], dtype=np.float32))


def test_object_scores_by_hand():
    scores, classes = object_scores(LOGITS, "softmax")
    # 3 / (1 + 3) and 4 / (4 + 1).
    assert scores.tolist() == pytest.approx([0.75, 0.8]) and classes.tolist() == [1, 0]
    assert (scores.dtype, classes.dtype) == (np.float32, np.int64)
    # sigmoid(ln x) = x / (1 + x).
    scores, classes = object_scores(LOGITS, "sigmoid")
    assert scores.tolist() == pytest.approx([0.75, 0.8]) and classes.tolist() == [1, 0]
    assert object_scores(LOGITS - np.log(6), "sigmoid")[0].tolist() == pytest.approx([1 / 3, 0.4])
    assert object_scores(LOGITS - np.log(6), "softmax")[0].tolist() == pytest.approx([0.75, 0.8])


def test_auto_is_softmax_but_sigmoid_for_one_class():
    assert object_scores(LOGITS - np.log(6), "auto")[0].tolist() == pytest.approx([0.75, 0.8])
    one = np.log(np.array([[3], [1 / 4]], dtype=np.float32))
    assert object_scores(one, "softmax")[0].tolist() == [1, 1]
    assert object_scores(one)[0].tolist() == pytest.approx([3 / 4, 1 / 5])
    # No class at all, in a record without queries.
    assert choose_object_score("auto", 0) == "softmax"


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [-1e4, -2e4]], dtype=np.float32)
    assert object_scores(logits, "sigmoid")[0].tolist() == [1, 0]
    assert object_scores(logits, "softmax")[0].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_no_queries(kind):
    scores, classes = object_scores(np.zeros((0, 3)), kind)
    assert scores.shape == classes.shape == (0,)


def test_an_unknown_score():
    with pytest.raises(
        ConfigurationError, match="object score 'margin' is unknown, choose one of auto, softmax, sigmoid"
    ):
        object_scores(LOGITS, "margin")


@pytest.mark.parametrize(("fields", "message"), [
    ({"boxes": np.zeros((1, 4))}, r"boxes has shape \(1, 4\), expected \(2, 4\)"),
    ({"connectivity": np.zeros(2)}, r"connectivity has shape \(2,\), expected \(1,\)"),
    ({"logits": np.zeros((2, 0))}, "logits has no column"),
    ({"pairs": [[0, 2]]}, r"pairs indexes queries outside 0\.\.1"),
    ({"pairs": [[-1, 0]]}, r"pairs indexes queries outside 0\.\.1"),
])  # fmt: skip
def test_fields_that_do_not_fit_are_named(fields, message):
    record = {"logits": LOGITS, "boxes": np.zeros((2, 4)), "pairs": [[0, 1]], "connectivity": [1.0]}
    Prediction(**record, relation=[[0.5]], image_size=(9, 9))
    with pytest.raises(PredictionError, match=f"Prediction.{message}"):
        Prediction(**(record | fields), relation=[[0.5]], image_size=(9, 9))
