"""Training in several processes, against the same training in one."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from egtr.data.scenes import prepare_scenes

pytestmark = pytest.mark.slow

STEPS = 20
CANVAS = 320


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the drawn dataset on canvases of one size: padding to that of a batch then is none."""
    folder = tmp_path_factory.mktemp("scenes")
    prepare_scenes(folder, sizes=(24, 1, 1), processes=1)
    annotations = json.loads((folder / "train.json").read_text())
    for image in annotations["images"]:
        file = str(folder / "images" / image["file_name"])
        pixels = cv2.imread(file)
        canvas = np.zeros((CANVAS, CANVAS, 3), dtype=np.uint8)
        canvas[: len(pixels), : len(pixels[0])] = pixels
        cv2.imwrite(file, canvas)
        image["height"] = image["width"] = CANVAS
    (folder / "train.json").write_text(json.dumps(annotations))
    return folder


def train(folder: Path, options: dict, processes: int) -> list[dict[str, float]]:
    """Losses of each step, means over processes."""
    folder.mkdir()
    words = [str(word) for pair in (options | {"OUTPUT_DIR": str(folder / "run")}).items() for word in pair]
    command = [sys.executable, "-m", "tests.engine.exact_run", str(folder), "--num-gpus", str(processes), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    files = [(folder / f"{rank}.jsonl").read_text().splitlines() for rank in range(processes)]
    steps = [[json.loads(line) for line in lines] for lines in zip(*files, strict=True)]
    return [{name: sum(step[name] for step in parts) / processes for name in parts[0]} for parts in steps]


def largest_difference(first: list[dict[str, float]], second: list[dict[str, float]]) -> float:
    return max(abs(a[name] - b[name]) for a, b in zip(first, second, strict=True) for name in a | b)


def test_two_processes_learn_as_one(scenes, tiny_options, tmp_path):
    row = ["some", "egtr", str(scenes / "train.json"), str(scenes / "images")]
    options = tiny_options | {
        "DATASETS.REGISTER": json.dumps([row]),
        "DATASETS.TRAIN": ("some",),
        "DATASETS.TEST": (),
        "MODEL.EGTR.NUM_CLASSES": 18,
        "MODEL.EGTR.NUM_PREDICATES": 15,
        "MODEL.EGTR.NUM_QUERIES": 20,
        "MODEL.EGTR.BACKBONE.NORM": "FrozenBN",
        "MODEL.EGTR.TRANSFORMER.DEC_LAYERS": 2,
        "MODEL.EGTR.WITH_BOX_REFINE": True,
        "MODEL.EGTR.TWO_STAGE": True,
        "MODEL.EGTR.AUX_LOSS": True,
        "MODEL.EGTR.RELATION.TASKS": ["BoxOffsetTask"],
        "INPUT.MIN_SIZE_TRAIN": (128,),
        "INPUT.MAX_SIZE_TRAIN": 128,
        "INPUT.RANDOM_FLIP": "none",
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_ITER": STEPS,
    }
    one = train(tmp_path / "one", options, 1)
    two = train(tmp_path / "two", options, 2)
    # Every loss that there is: of both decoder layers, of proposals, of relations and of the further task.
    assert set(one[0]) == {
        *(f"loss_{name}{suffix}" for name in ("ce", "bbox", "giou") for suffix in ("", "_0", "_enc")),
        "loss_rel", "loss_connectivity", "loss_box_offset",
    }  # fmt: skip
    assert len(one) == STEPS
    assert largest_difference(one, two) < 1e-6
    # And it takes counts over all processes: with those of each process the very first losses are others.
    changes = {"MODEL.EGTR.LOSS.NORMALIZER": "process", "SOLVER.MAX_ITER": 1}
    assert largest_difference(one[:1], train(tmp_path / "released", options | changes, 2)) > 1e-3
