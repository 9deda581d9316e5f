import logging
import math

import pytest
import torch
from torch import nn

from egtr.checkpoint import EGTRCheckpointer, load_checkpoint_file
from egtr.engine.best_weights import BestWeights


@pytest.fixture
def model():
    return nn.Linear(1, 1)


@pytest.fixture
def make_best(model, tmp_path):
    """A function that makes another start of the same run."""
    return lambda metric="sgdet/R@50", datasets=(): BestWeights(
        EGTRCheckpointer(model, str(tmp_path)), metric, datasets
    )


def test_the_highest_score_is_kept_and_the_others_are_counted(make_best, model, tmp_path):
    best = make_best()
    for iteration, value in enumerate([10.0, 30.0, 30.0, math.nan, 20.0]):
        nn.init.constant_(model.weight, value)
        best.update({"sgdet/R@50": value, "bbox/AP": 99.0}, iteration, model)
    assert (best.best, best.stale) == (30.0, 3)
    kept = load_checkpoint_file(str(tmp_path / "model_best.pth"))
    assert (kept["iteration"], kept["metric"], kept["score"]) == (1, "sgdet/R@50", 30.0)
    assert kept["model"]["weight"].item() == 30


def test_of_several_datasets_the_first_one_decides(make_best, model):
    best = make_best(datasets=("one", "two"))
    best.update({"one/sgdet/R@50": 10.0, "two/sgdet/R@50": 20.0}, 0, model)
    assert best.best == 10.0


def test_a_run_that_was_killed_does_not_overwrite_what_it_found_after_its_checkpoint(make_best, model, tmp_path):
    first = make_best()
    first.update({"sgdet/R@50": 10.0}, 0, model)
    checkpoint = first.state_dict()
    first.update({"sgdet/R@50": 30.0}, 1, model)
    resumed = make_best()
    resumed.load_state_dict(checkpoint)
    resumed.read_score()
    resumed.update({"sgdet/R@50": 20.0}, 1, model)
    assert (resumed.best, resumed.stale) == (20.0, 0)
    assert load_checkpoint_file(str(tmp_path / "model_best.pth"))["score"] == 30.0


def test_scores_of_another_metric_say_nothing(make_best, model):
    other = make_best("bbox/AP50")
    other.update({"bbox/AP50": 50.0}, 0, model)
    best = make_best()
    best.load_state_dict(other.state_dict())
    best.read_score()
    assert best.best is None
    best.update({"sgdet/R@50": 10.0}, 1, model)
    assert best.best == 10.0


def test_a_damaged_file_is_reported_and_replaced(make_best, model, tmp_path, caplog):
    path = tmp_path / "model_best.pth"
    path.write_bytes(b"PK")
    best = make_best()
    best.read_score()
    assert str(path) in caplog.text and "take its place" in caplog.text and best.best is None
    best.update({"sgdet/R@50": 10.0}, 0, model)
    assert torch.equal(load_checkpoint_file(str(path))["model"]["weight"], model.weight)


def test_of_losses_the_lowest_is_kept(make_best, model, tmp_path, caplog):
    best = make_best("validation/loss")
    for iteration, value in enumerate([4.0, 2.0, 3.0]):
        best.update({"validation/loss": value, "sgdet/R@50": 10.0 * value}, iteration, model)
    assert (best.best, best.stale) == (2.0, 1)
    kept = load_checkpoint_file(str(tmp_path / "model_best.pth"))
    assert kept["metrics"] == {"validation/loss": 2.0, "sgdet/R@50": 20.0}
    # A resumed run knows them from the file.
    resumed = make_best("validation/loss")
    resumed.read_score()
    resumed.update({"validation/loss": 2.5}, 3, model)
    with caplog.at_level(logging.INFO):
        resumed.log_metrics()
    assert resumed.best == 2.0 and "after iteration 1. Its metrics:\n  validation/loss: 2.0000\n" in caplog.text


def test_there_is_nothing_to_say_before_the_first_evaluation(make_best, caplog):
    with caplog.at_level(logging.INFO):
        make_best().log_metrics()
    assert not caplog.records
