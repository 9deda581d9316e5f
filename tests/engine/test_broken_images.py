"""Whole runs on a damaged copy of a dataset."""

import argparse
import json
import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from egtr.checkpoint.checkpointer import EGTRCheckpointer
from egtr.config import egtr_argument_parser
from egtr.data import SceneGraphMapper, build_train_loader
from egtr.engine import EGTRTrainer, launch, train_or_evaluate
from egtr.structures import EGTRError
from tests.engine.stub import STUB

SKIP = {"DATALOADER.SKIP_BROKEN": True}


def train(cfg):
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    return trainer.train()


@pytest.fixture
def damaged(make_tiny_dataset):
    """Damage a dataset, and return it with the paths of the damaged images.

    Of six images for training one is missing, one cut short, and one has a relation to no object; of six for
    validation one is empty.
    """
    dataset = make_tiny_dataset(num_images=6, seed=4)

    def path(split, k):
        content = json.loads((dataset.root / f"{split}.json").read_text())
        return dataset.root / "images" / content["images"][k]["file_name"], str(content["images"][k]["id"])

    missing, cut, empty = path("train", 0)[0], path("train", 1)[0], path("val", 3)[0]
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-60])
    empty.write_bytes(b"")
    rel = json.loads((dataset.root / "rel.json").read_text())
    unsound = path("train", 2)[1]
    rel["train"][unsound].append([0, 99, 1])
    (dataset.root / "rel.json").write_text(json.dumps(rel))
    sets = {"DATASETS.TRAIN": (dataset.train,), "DATASETS.TEST": (dataset.val,)}
    return SimpleNamespace(dataset=dataset, sets=sets, missing=missing, cut=cut, empty=empty, unsound=unsound)


def mend_annotations(damaged):
    path = damaged.dataset.root / "rel.json"
    rel = json.loads(path.read_text())
    rel["train"][damaged.unsound].pop()
    path.write_text(json.dumps(rel))


def test_the_first_damage_ends_the_run_and_is_named(make_cfg, damaged):
    with pytest.raises(EGTRError, match=rf"rel\.json.*image id {damaged.unsound}, relation \d+ = \[0, 99, 1\]"):
        train(make_cfg(damaged.sets | STUB))
    mend_annotations(damaged)
    # Out of a worker the error comes as one line as well.
    cfg = make_cfg(damaged.sets | STUB | {"DATALOADER.NUM_WORKERS": 1, "SOLVER.MAX_ITER": 4})
    with pytest.raises(EGTRError) as caught:
        launch(lambda args: train(cfg), argparse.Namespace(num_gpus=1, num_machines=1))
    assert str(caught.value).startswith((f"{damaged.missing}: ", f"{damaged.cut}: "))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_past_damage_and_counts_it(make_cfg, damaged, caplog, workers):
    # Ten images out of five: every one is met.
    changes = {"DATALOADER.NUM_WORKERS": workers, "SOLVER.MAX_ITER": 5, "DATASETS.TEST": ()}
    with caplog.at_level(logging.INFO):
        train(make_cfg(damaged.sets | SKIP | STUB | changes))
    report = next(r.getMessage() for r in caplog.records if "SKIP_BROKEN: in training" in r.getMessage())
    assert report.startswith("DATALOADER.SKIP_BROKEN: in training 2 of 5 images were broken and left out: ")
    assert str(damaged.missing) in report and str(damaged.cut) in report
    assert report.endswith("before that, 1 with errors in their annotations")
    assert "1 of 6 images have errors in their annotations and are left out" in caplog.text


def test_an_evaluation_in_training_counts_damage_too(make_cfg, damaged, caplog):
    changes = {"SOLVER.MAX_ITER": 1, "TEST.SCENE_GRAPH.SAVE_PREDICTIONS": True}
    with caplog.at_level(logging.INFO):
        results = train(make_cfg(damaged.sets | SKIP | changes))
    assert f"1 of 6 images of {damaged.dataset.val} are broken. They count as images" in caplog.text
    assert 0 <= results["sgdet"]["R@50"] <= 100


def test_a_sound_set_says_so(make_cfg, tiny_dataset, caplog):
    with caplog.at_level(logging.INFO):
        train(make_cfg(SKIP | STUB | {"DATASETS.TEST": ()}))
    assert "no broken image was met in training" in caplog.text


def evaluate(cfg, *options):
    """As `tools/train_net.py --eval-only` does it, with the keys of ``cfg``."""
    path = f"{cfg.OUTPUT_DIR}.yaml"
    with open(path, "w") as file:
        file.write(cfg.dump())
    return train_or_evaluate(egtr_argument_parser().parse_args(["--config-file", path, "--eval-only", *options]))


@pytest.fixture
def weights(make_cfg, tmp_path):
    return EGTRCheckpointer(EGTRTrainer.build_model(make_cfg()), str(tmp_path)).save_weights("random")


def test_evaluation_counts_a_broken_image_as_one_without_prediction(make_cfg, damaged, weights):
    mend_annotations(damaged)
    cfg = make_cfg(damaged.sets | SKIP | {"MODEL.WEIGHTS": weights})
    evaluate(cfg)
    report = json.loads(Path(cfg.OUTPUT_DIR, f"scene_graph_{damaged.dataset.val}.json").read_text())
    assert report["num_images"] == 6
    with pytest.raises(EGTRError, match="the file is empty"):
        evaluate(cfg, "DATALOADER.SKIP_BROKEN", "False")


def test_a_hopeless_set_ends_with_an_error(make_cfg, make_tiny_dataset, weights):
    dataset = make_tiny_dataset(num_images=3, seed=5)
    for path in (dataset.root / "images").iterdir():
        path.write_text("not found")
    sets = {"DATASETS.TRAIN": (dataset.train,), "DATASETS.TEST": (dataset.val,)}
    cfg = make_cfg(sets | SKIP | {"MODEL.WEIGHTS": weights})
    with pytest.raises(EGTRError, match=r"all 3 images are broken.*\.png: cannot be read"):
        next(iter(build_train_loader(cfg)))
    with pytest.raises(EGTRError, match=f"3 of 3 images of {dataset.val} are broken, so there is nothing"):
        evaluate(cfg)


def test_a_worker_that_is_killed_ends_an_evaluation_with_one_error(make_cfg, weights, monkeypatch):

    def kill_the_worker(mapper, record):
        assert torch.utils.data.get_worker_info() is not None
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(SceneGraphMapper, "__call__", kill_the_worker)
    cfg = make_cfg({"DATALOADER.NUM_WORKERS": 1, "MODEL.WEIGHTS": weights})
    with pytest.raises(EGTRError, match=r"^DataLoader worker \(pid.*memory.*NUM_WORKERS.*then evaluate again$"):
        evaluate(cfg)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("MODEL.EGTR.NUM_CLASSES", "has 5 thing_classes, but MODEL.EGTR.NUM_CLASSES is 7"),
        ("MODEL.EGTR.NUM_PREDICATES", "has 4 predicate_classes, but MODEL.EGTR.NUM_PREDICATES is 7"),
    ],
)
def test_other_numbers_than_the_data_sets_fail_before_anything_is_built(make_cfg, monkeypatch, key, words):
    def build_model(cfg):
        raise AssertionError("the model was built")

    monkeypatch.setattr(EGTRTrainer, "build_model", build_model)
    cfg = make_cfg({key: 7, "MODEL.WEIGHTS": "none.pth"})
    with pytest.raises(EGTRError, match=words):
        evaluate(cfg)
    with pytest.raises(EGTRError, match=words):
        EGTRTrainer(cfg)


def test_evaluation_needs_no_training_set(make_cfg, weights, caplog):
    """Its files need not be on this machine: vg150 is not."""
    results = evaluate(make_cfg({"DATASETS.TRAIN": ("vg150_train",), "MODEL.WEIGHTS": weights}))
    assert 0 <= results["sgdet"]["R@50"] <= 100
