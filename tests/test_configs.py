"""Every configuration that comes with EGTR loads, and trains and evaluates one iteration."""

import math

import pytest

from egtr.engine import EGTRTrainer, load_config
from egtr.model_zoo import get_config_file, list_configs

SMALL_FOLDER = "scenes/"


def param(name):
    return pytest.param(name, marks=[] if name.startswith(SMALL_FOLDER) else pytest.mark.slow)


def test_there_are_configurations():
    names = list_configs()
    assert {"scenes/detector.yaml", "scenes/egtr.yaml", "scenes/egtr_train.yaml", "vg150_egtr.yaml"} <= set(names)


@pytest.mark.parametrize("name", list_configs())
def test_loads(name):
    cfg = load_config(get_config_file(name))
    assert cfg.MODEL.META_ARCHITECTURE == "EGTR"
    # The order of channels and the mean go together: red is the brightest.
    red = {"RGB": 0, "BGR": 2}[cfg.INPUT.FORMAT]
    assert cfg.MODEL.PIXEL_MEAN[red] == pytest.approx(123.675)


@pytest.mark.parametrize("name", [param(name) for name in list_configs()])
def test_trains_one_iteration(name, make_tiny_dataset, tmp_path):
    cfg = load_config(get_config_file(name))
    data = make_tiny_dataset(
        num_images=2, num_classes=cfg.MODEL.EGTR.NUM_CLASSES, num_predicates=cfg.MODEL.EGTR.NUM_PREDICATES
    )
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "run"),
        # A fixture data set, batches of one, small pictures, 20 queries
        "DATASETS.TRAIN", (data.train,), "DATASETS.TEST", (data.val,),
        "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 1, "DATALOADER.NUM_WORKERS", 0,
        "INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MAX_SIZE_TRAIN", 128,
        "INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128,
        "MODEL.EGTR.NUM_QUERIES", 20,
        # What a former step or a download would bring; shipped weights stay.
        "MODEL.WEIGHTS", cfg.MODEL.WEIGHTS if cfg.MODEL.WEIGHTS.startswith("egtr://") else "",
        "MODEL.EGTR.BACKBONE.PRETRAINED", False,
    ])  # fmt: skip
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert math.isfinite(trainer.storage.latest()["total_loss"][0])
    assert "bbox" in results and ("sgdet" in results) == cfg.MODEL.EGTR.RELATION.ENABLED
