"""`make demo` runs this, here on a tiny dataset with a tiny model."""

import importlib.util
import json
import logging
from pathlib import Path

import cv2
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools/quickstart.py"
TINY_MODEL = """
MODEL.DEVICE cpu  MODEL.WEIGHTS ''  MODEL.BACKBONE.FREEZE_AT 0
MODEL.EGTR.BACKBONE.NAME resnet10t  MODEL.EGTR.BACKBONE.NORM BN
MODEL.EGTR.NUM_CLASSES 5  MODEL.EGTR.NUM_PREDICATES 4  MODEL.EGTR.NUM_QUERIES 10
MODEL.EGTR.TRANSFORMER.HIDDEN_DIM 32  MODEL.EGTR.TRANSFORMER.NHEADS 4
MODEL.EGTR.TRANSFORMER.ENC_LAYERS 1  MODEL.EGTR.TRANSFORMER.DEC_LAYERS 2
INPUT.MIN_SIZE_TRAIN (64,)  INPUT.MAX_SIZE_TRAIN 96  INPUT.MIN_SIZE_TEST 64  INPUT.MAX_SIZE_TEST 96
SOLVER.MAX_ITER 2  SOLVER.IMS_PER_BATCH 2  SOLVER.STEPS ()  DATALOADER.NUM_WORKERS 0
"""


@pytest.fixture
def quickstart():
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    # The script is meant to have its process, and so the root logger, to itself.
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()


def test_trains_evaluates_draws_and_reports(quickstart, tiny_dataset, tmp_path, capsys):
    data = f"DATASETS.TRAIN ('{tiny_dataset.train}',)  DATASETS.TEST ('{tiny_dataset.test}',)"
    options = ["--config-file", "egtr://configs/Base-EGTR.yaml", "--output", str(tmp_path / "demo")]
    options += ["--dataset", tiny_dataset.val, "--images", "3"]
    quickstart.main([*options, *TINY_MODEL.split(), *data.split()])

    text = capsys.readouterr().out
    assert (tmp_path / "demo/training/config.yaml").is_file()
    images = sorted((tmp_path / "demo").glob("*.png"))
    assert len(images) == 3
    for path in images:
        assert str(path) in text
        # The graph beside the image makes a sheet wider than high, much larger than the 72 x 96 original.
        height, width = cv2.imread(str(path)).shape[:2]
        assert width > height > 72
    assert "R@K" in text and "K = 50" in text and "AP50" in text
    lines = (tmp_path / "demo/training/metrics.json").read_text().splitlines()
    assert json.loads(lines[-1])["sgdet/R@50"] >= 0
    assert (tmp_path / "demo/training/log.txt").stat().st_size > 0


def test_older_spelling(quickstart):
    assert quickstart.parse_arguments(["--pictures", "3"]).images == 3
    assert quickstart.parse_arguments([]).images == 10


def test_table_has_the_numbers_in_their_places(quickstart):
    kinds = ("R", "mR", "ng-R", "ng-mR")
    graphs = {f"{kind}@{k}": 10 * row + k / 100 for row, kind in enumerate(kinds) for k in (20, 50)}
    table = quickstart.metrics_table({"sgdet": graphs, "bbox": {"AP": 33.3, "AP50": 66.6}}, ["val"], (20, 50))
    cells = {line.split()[0]: line.split()[1:] for line in table.splitlines() if "@K" in line}
    assert cells == {
        "R@K": ["0.2", "0.5"],
        "mR@K": ["10.2", "10.5"],
        "ng-R@K": ["20.2", "20.5"],
        "ng-mR@K": ["30.2", "30.5"],
    }
    assert "AP50 66.6, AP 33.3" in table


def test_table_of_two_data_sets_and_of_a_detector(quickstart):
    detector = {name: {"bbox": {"AP": ap, "AP50": 2 * ap}} for name, ap in (("val", 11.1), ("test", 22.2))}
    assert quickstart.metrics_table(detector["val"], ["val"], (20,)) == "objects: AP50 22.2, AP 11.1"
    table = quickstart.metrics_table(detector, ["val", "test"], (20,))
    assert table == "val:\nobjects: AP50 22.2, AP 11.1\n\ntest:\nobjects: AP50 44.4, AP 22.2"


def test_a_detector_on_two_data_sets_into_a_folder_of_choice(quickstart, tiny_dataset, tmp_path, capsys):
    data = f"DATASETS.TRAIN ('{tiny_dataset.train}',)  DATASETS.TEST ('{tiny_dataset.test}','{tiny_dataset.val}')"
    options = ["--config-file", "egtr://configs/Base-EGTR.yaml", "--output", str(tmp_path / "demo")]
    options += ["--dataset", tiny_dataset.val, *TINY_MODEL.split(), *data.split()]
    options += ["MODEL.EGTR.RELATION.ENABLED", "False"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.json").write_text('{"iteration": 99}\n')
    quickstart.main([*options, "OUTPUT_DIR", str(tmp_path / "run")])
    assert capsys.readouterr().out.count("AP50") == 2
    # Nothing is left of the run before.
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.json").read_text().splitlines()]
    assert lines and max(line["iteration"] for line in lines) < 99
    assert not (tmp_path / "demo").exists()
