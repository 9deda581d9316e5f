"""The shipped weights on a second drawn dataset whose labels are others, from its images to a named graph."""

import json
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from egtr.checkpoint import load_checkpoint_file
from egtr.data.datasets.annotations import ImageAnnotations, SceneGraphAnnotations
from egtr.data.scenes import SCENES_CLASSES, SCENES_PREDICATES
from egtr.hub.model_zoo import get_weights_file
from egtr.structures import SceneGraph

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "projects/EGTR/relabel_scenes.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(("merged", "old"), [("CLASSES", SCENES_CLASSES), ("PREDICATES", SCENES_PREDICATES)])
def test_every_label_has_one_new_name_and_no_name_stays(script, merged, old):
    assert sorted(name for names in script[merged].values() for name in names) == sorted(old)
    assert not set(script[merged]) & set(old)


def test_relabel(script):
    # dog chasing ball, dog near ball, dog beside ball
    number = SCENES_PREDICATES.index
    image = ImageAnnotations(
        1, "a.png", 10, 10,
        boxes=[[0, 0, 5, 5], [5, 5, 9, 9]],
        classes=[SCENES_CLASSES.index("dog"), SCENES_CLASSES.index("ball")],
        crowd=[False, False],
        relations=[[0, 1, number("chasing")], [0, 1, number("near")], [0, 1, number("beside")]],
    )  # fmt: skip
    annotations = SceneGraphAnnotations([image], list(SCENES_CLASSES), list(SCENES_PREDICATES), "", "a.json")
    script["relabel"](annotations)
    classes, predicates = annotations.thing_classes, annotations.predicate_classes
    assert [classes[k] for k in image.classes] == ["animal", "toy"]
    # Near and beside have become one relation.
    assert sorted((s, o, predicates[p]) for s, o, p in image.relations) == [(0, 1, "close to"), (0, 1, "plays with")]


@pytest.mark.slow
def test_from_drawing_to_a_graph(script, tmp_path):
    """In a folder of its own, by the commands of the README with less of everything."""

    def run(*command):
        arguments = [sys.executable, *map(str, command)]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    config = ROOT / "projects/EGTR/configs/own_labels.yaml"
    assert "9 classes, 8 predicates" in run(SCRIPT, "--sizes", 24, 4, 4)
    log = run(
        ROOT / "tools/train_net.py", "--config-file", config, "SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 3,
        "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu",
    )  # fmt: skip
    assert "they start from scratch, at the learning rate 0.001" in log
    rows = re.findall(r"^(\S+) +(\([\d, ]+\)) +(\([\d, ]+\))$", log, re.M)
    # The class heads of three decoder layers and the last layer of the relation head, weight and bias each.
    assert Counter(name.split(".")[1] for name, *_ in rows) == {"class_heads": 6, "relation_head": 2}
    assert ("relation.relation_head.mlp.layers.2.bias", "(8,)", "(15,)") in rows

    # The shipped detector's boxes are good from the start; those of a random one have a GIoU below 0.
    training = tmp_path / "output/own_labels/training"
    (line, *_) = (json.loads(line) for line in (training / "metrics.json").read_text().splitlines())
    assert line["loss_giou"] / 2 < 0.6
    before = load_checkpoint_file(get_weights_file("scenes_egtr.pth"))["model"]
    after = load_checkpoint_file(str(training / "model_final.pth"))["model"]
    name = next(key for key in before if key.startswith("backbone.") and key.endswith("weight"))
    # Three steps at 1e-5.
    torch.testing.assert_close(after[name], before[name].float(), rtol=0, atol=1e-3)

    (image,) = (tmp_path / "output/own_labels/drawn/images").glob("test_00000.png")
    run(
        ROOT / "tools/demo.py", "--config-file", config, "--input", image, "--output", "graphs",
        "--confidence-threshold", 0, "--opts", "MODEL.WEIGHTS", training / "model_final.pth", "MODEL.DEVICE", "cpu",
    )  # fmt: skip
    graph = SceneGraph.from_dict(json.loads((tmp_path / "graphs/test_00000.json").read_text()))
    assert graph.class_names == tuple(script["CLASSES"]) and graph.predicate_names == tuple(script["PREDICATES"])
    assert len(graph.triplets)
