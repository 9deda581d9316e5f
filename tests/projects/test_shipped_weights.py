"""The weights that come with EGTR fit their configurations, are small, and have the promised accuracy."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.modeling import build_model

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.checkpoint import EGTRCheckpointer, find_new_parameters
from egtr.config import load_config
from egtr.data import register_builtin_datasets
from egtr.data.scenes import draw_scene, prepare_scenes
from egtr.engine import EGTRTrainer
from egtr.hub.model_zoo import get_config_file, get_weights_file, list_weights

# Each file, and the configuration of the model that it was saved from.
CONFIG_OF = {
    "scenes_detector.pth": "scenes/detector.yaml",
    "scenes_egtr.pth": "scenes/egtr.yaml",
    "scenes_rtdetr.pth": "scenes/rtdetr.yaml",
    "scenes_rtdetr_detector.pth": "scenes/rtdetr_demo.yaml",
}
LIMIT = 25 * 10**6


def load(name):
    """(configuration, model, checkpointer) of a shipped file, on the CPU."""
    cfg = load_config(
        get_config_file(CONFIG_OF[name]), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", f"egtr://weights/{name}"]
    )
    model = build_model(cfg)
    checkpointer = EGTRCheckpointer(model)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    return cfg, model, checkpointer


def test_files_are_those_of_the_configurations_and_small():
    assert set(list_weights()) == set(CONFIG_OF)
    named = [load_config(get_config_file(f"scenes/{name}.yaml")).MODEL.WEIGHTS for name in ("egtr", "egtr_train")]
    assert named == ["egtr://weights/scenes_egtr.pth", "egtr://weights/scenes_detector.pth"]
    sizes = [Path(get_weights_file(name)).stat().st_size for name in CONFIG_OF]
    # A placeholder for a large file in a repository is smaller than any model.
    assert min(sizes) > 10**6 and sum(sizes) <= LIMIT


@pytest.mark.parametrize("name", CONFIG_OF)
def test_a_file_fills_its_model(name):
    _, model, checkpointer = load(name)
    assert checkpointer.incompatible.unexpected_keys == []
    # Buffers too: without norm statistics or frequency table it is another model.
    missing = [*find_new_parameters(model, checkpointer.incompatible), *checkpointer.incompatible.missing_keys]
    if name == "scenes_rtdetr_detector.pth":
        # Its configuration trains a new relation part on it.
        assert missing and {key.partition(".")[0] for key in missing} == {"relation"}
    else:
        assert missing == []
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.fixture
def scenes_test(tmp_path):
    """The default dataset's 400 test images, registered in place of those under DETECTRON2_DATASETS."""
    # An image depends only on seed, split and number, so the other splits need not be drawn.
    prepare_scenes(tmp_path / "scenes", sizes=(1, 1, 400))
    register_builtin_datasets(str(tmp_path))
    yield tmp_path / "scenes"
    register_builtin_datasets()


# Python 3.12 and newer warn of a fork in a process with threads, and test runners have threads.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ap50", "recall", "mean_recall"), [("scenes_egtr.pth", 85, 80, 75), ("scenes_rtdetr.pth", 90, 85, 82)]
)
def test_promised_accuracy(name, ap50, recall, mean_recall, scenes_test, tmp_path):
    last = cv2.imread(str(scenes_test / "images/test_00399.png"))[:, :, ::-1]
    assert np.array_equal(last, draw_scene(0, "test", 399)[0])
    cfg, model, _ = load(name)
    cfg.merge_from_list(["DATASETS.TEST", ("scenes_test",), "OUTPUT_DIR", str(tmp_path / "out")])
    cfg.DATALOADER.NUM_WORKERS = 0
    results = EGTRTrainer.test(cfg, model)
    assert results["bbox"]["AP50"] >= ap50
    assert results["sgdet"]["R@50"] >= recall
    assert results["sgdet"]["mR@50"] >= mean_recall
