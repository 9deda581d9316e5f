"""Data of one's own, named in a YAML file and nowhere else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.config import egtr_argument_parser, load_config
from egtr.engine import train_or_evaluate
from egtr.inference import EGTRPredictor

TOOL = Path(__file__).parents[2] / "tools/train_net.py"


def _to_coco_sg(root, split):
    """``tiny_dataset``'s file with the relations of rel.json as rel_annotations, in COCO-SG."""
    content = json.loads((root / f"{split}.json").read_text())
    rel = json.loads((root / "rel.json").read_text())
    own = {
        image["id"]: [a["id"] for a in content["annotations"] if a["image_id"] == image["id"]]
        for image in content["images"]
    }
    content["rel_categories"] = [{"id": k, "name": name} for k, name in enumerate(rel["rel_categories"]) if k]
    content["rel_annotations"] = [
        {"image_id": int(key), "subject_id": own[int(key)][s], "object_id": own[int(key)][o], "predicate_id": p}
        for key, rows in rel[split].items()
        for s, o, p in rows
    ]
    for number, row in enumerate(content["rel_annotations"]):
        row["id"] = number
    return content


@pytest.fixture
def yaml_file(tmp_path, tiny_dataset, tiny_options):
    """A run on ``own_train`` and ``own_val``, which nothing but this file names."""
    for split in ("train", "val"):
        (tmp_path / f"{split}.json").write_text(json.dumps(_to_coco_sg(tiny_dataset.root, split)))
    images = str(tiny_dataset.root / "images")
    options = tiny_options | {
        "DATASETS.TRAIN": ("own_train",),
        "DATASETS.TEST": ("own_val",),
        "SOLVER.MAX_ITER": 1,
        "DATASETS.REGISTER": [
            [
                "own_train",
                "coco_sg",
                str(tmp_path / "train.json"),
                images,
                {"flip_predicate_pairs": [["predicate0", "predicate1"]]},
            ],
            ["own_val", "coco_sg", str(tmp_path / "val.json"), images],
        ],
        "OUTPUT_DIR": str(tmp_path / "run"),
    }
    content = {}
    for key, value in options.items():
        *sections, last = key.split(".")
        node = content
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = list(value) if isinstance(value, tuple) else value
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    yield str(tmp_path / "own.yaml")
    for name in ("own_train", "own_val"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_trains_evaluates_and_predicts(yaml_file, tmp_path, tiny_dataset):
    results = train_or_evaluate(egtr_argument_parser().parse_args(["--config-file", yaml_file]))
    assert 0 <= results["sgdet"]["R@20"] <= 1 and results["bbox"]["AP"] >= 0
    assert [len(DatasetCatalog.get(name)) for name in ("own_train", "own_val")] == [6, 6]

    # The configuration that the run saved is a whole one too.
    saved, weights = str(tmp_path / "run/config.yaml"), str(tmp_path / "run/model_final.pth")
    options = ["--config-file", saved, "--eval-only", "MODEL.WEIGHTS", weights]
    again = train_or_evaluate(egtr_argument_parser().parse_args(options))
    assert again["sgdet"]["R@50"] == results["sgdet"]["R@50"]

    predictor = EGTRPredictor(load_config(yaml_file, ["MODEL.WEIGHTS", weights]))
    assert predictor.class_names == tiny_dataset.thing_classes
    assert predictor.predicate_names == tiny_dataset.predicate_classes


def test_numbers_that_disagree_with_the_own_data(yaml_file):
    words = ["--config-file", yaml_file, "MODEL.EGTR.NUM_PREDICATES", "7"]
    with pytest.raises(ValueError, match="'own_train' has 4 predicate_classes, but MODEL.EGTR.NUM_PREDICATES is 7"):
        train_or_evaluate(egtr_argument_parser().parse_args(words))


@pytest.mark.slow
@pytest.mark.parametrize("processes, workers", [(1, 2), (2, 0)])
def test_in_processes_of_their_own(yaml_file, tmp_path, processes, workers):
    """The plain command line, with workers that read images, and with two processes that train."""
    command = [sys.executable, str(TOOL), "--config-file", yaml_file, "--num-gpus", str(processes)]
    command += ["SOLVER.MAX_ITER", "1", "DATALOADER.NUM_WORKERS", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run/model_final.pth").is_file()
