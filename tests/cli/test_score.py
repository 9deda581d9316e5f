"""`egtr score` and `egtr compare` from the command line to the files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from egtr.cli import main
from egtr.evaluation import PROTOCOLS, PredictionMeta, PredictionWriter
from egtr.structures import GroundTruth, Prediction, TripletCounts

ROOT = Path(__file__).resolve().parents[2]
# Runs a command where these cannot be imported.
BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "detectron2", "fvcore", "iopath"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
from egtr.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """Write the predictions of two images.

    In both, objects 0 and 1 are found and (0, 1) is predicted as predicate 0, which is annotated in
    the first; in the second it is predicate 1, which comes second.
    """
    path = tmp_path_factory.mktemp("predictions") / "saved"
    training = TripletCounts([[0, 1, 0], [1, 0, 1]], [8, 2], num_classes=2, num_predicates=3)
    meta = PredictionMeta(("person", "dog"), ("near", "holds", "under"), training=training)
    boxes = [[0, 0, 20, 20], [30, 30, 60, 60]]
    with PredictionWriter(path, meta) as writer:
        for image_id, predicate in (("first.jpg", 0), ("second.jpg", 1)):
            prediction = Prediction([[5, 0], [0, 5]], boxes, [[0, 1]], [1.0], [[0.9, 0.5, 0.1]], (80, 90))
            writer.write(image_id, prediction, GroundTruth(boxes, [0, 1], [[0, 1, predicate]]))
    return path


def run_blocked(*arguments):
    command = [sys.executable, "-c", BLOCKED, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)


def test_score(predictions, tmp_path, capsys):
    arguments = ["--protocol", "strict", "iou0", "--topk", "1", "10", "--bootstrap", "20", "--per-predicate"]
    output = tmp_path / "new" / "out"
    assert main(["score", "--predictions", str(predictions), *arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr()
    # With graph constraint one image of two is right, without it both. mR of three predicates: near 1, holds 0 and
    # under, which no image has, 0 or left out.
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in printed.out.splitlines() if "|" in line}
    cells = {name: [cell.strip() for cell in row] for name, row in rows.items()}
    assert cells["percent"] == ["strict", "iou0"]
    assert cells["R@1 / 10"] == ["50.00 / 50.00"] * 2
    assert cells["mR@1 / 10"] == ["50.00 / 50.00", "33.33 / 33.33"]
    assert cells["ng-R@1 / 10"] == ["50.00 / 100.00"] * 2
    assert "R@10, 95% interval" in cells
    # group, in training, triplets, images, R@1, R@10
    assert cells["near"] == ["head", "8", "1", "1", "100.00", "100.00"]
    assert cells["holds"] == ["body", "2", "1", "1", "0.00", "0.00"]
    # Of the two annotated triplets training has (0, 1, 0).
    assert cells["zero shot triplets"] == ["1", "1"] and cells["images with triplets"] == ["2", "2"]
    assert cells["absent_predicates_count"] == ["no", "yes"]
    assert "2 images" in printed.out and "scoring: 100%" in printed.err

    written = sorted(path.name for path in output.iterdir())
    assert [f"evaluation{end}" for end in (".csv", ".json", "_predicates.csv", "_predicates.png")] == written
    report = json.loads((output / "evaluation.json").read_text())
    assert report["predictions"] == str(predictions) and report["dataset"] is None
    assert report["protocols"]["iou0"]["metrics"]["mR@10"] == pytest.approx(100 / 3)
    with (output / "evaluation.csv").open() as file:
        table = {row["metric"]: row for row in csv.DictReader(file)}
    assert float(table["mR@10"]["strict"]) == 50


def test_compare_without_torch_and_detectron2(predictions, tmp_path):
    done = run_blocked("compare", "--predictions", predictions, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    metrics, conventions, counts, files = done.stdout.split("\n\n")
    for table in (metrics, conventions, counts):
        header = [cell.strip() for cell in table.splitlines()[0].split("|")[2:-1]]
        assert header == list(PROTOCOLS)
    assert "| object_score" in conventions and "| predicates present" in counts
    # They agree on this one.
    assert "iou_threshold" not in conventions
    names = ["comparison.json", "comparison.csv", "comparison_predicates.csv", "comparison_predicates.png"]
    assert files.split() == [str(tmp_path / name) for name in [*names, "comparison.md"]]
    text = (tmp_path / "comparison.md").read_text()
    assert text == f"{metrics}\n\n{conventions}\n\n{counts}\n"
    assert set(json.loads((tmp_path / "comparison.json").read_text())["protocols"]) == set(PROTOCOLS)


def test_a_data_set_needs_detectron2(predictions):
    done = run_blocked("score", "--predictions", predictions, "--dataset", "scenes_val")
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.startswith("egtr score: error: EGTR is a plugin of Detectron2, which this Python")
    assert "python tools/setup/install_detectron2.py" in done.stderr


@pytest.mark.parametrize("command", ["score", "compare"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top-k", "200"], "saved: holds what is needed up to K = 100 (max_rank), but top_k asks for 200"),
        (["--dataset", "no_such_set"], "no_such_set"),
        (["--format", "egtr", "--json", "no/such.json"], "no/such.json"),
        (["--json", "nowhere.json", "--format", "egtr"], "nowhere.json: there is no such file"),
        (["--bootstrap", "-5"], "bootstrap is -5; give the number of draws"),
        (["--output", __file__], f"--output {__file__}: File exists; name a folder that can be written"),
    ],
)
def test_what_cannot_be_done_is_one_message(command, arguments, message, predictions, capsys):
    assert main([command, "--predictions", str(predictions), *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"egtr {command}: error: ") and message in printed.err


@pytest.mark.parametrize("command", ["score", "compare"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one prediction file, or folder of its parts"),
        (
            ["saved", "--predictions", "saved"],
            "give one prediction file, or folder of its parts, not saved, saved",
        ),
        (["a", "b"], "give one prediction file, or folder of its parts, not a, b"),
        (["saved", "--json", "val.json"], "--format and --json belong together; give both or neither"),
        (
            ["saved", "--dataset", "a", "--format", "egtr", "--json", "b"],
            "--dataset and --json both name ground truth",
        ),
        (["saved", "--top-k", "0"], "0: give a whole number of at least 1"),
    ],
)
def test_usage(command, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([command, *arguments])
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words", [["nowhere"], ["--input", "nowhere"], ["--predictions", "nowhere"]])
def test_predictions_by_every_spelling(words, capsys):
    assert main(["score", *words]) == 1
    assert capsys.readouterr().err == "egtr score: error: nowhere: there is no such file\n"


def test_ground_truth_of_an_annotation_file(tiny_dataset, tmp_path, capsys):
    prediction = Prediction(np.zeros((1, 5)), [[0, 0, 9, 9]], np.zeros((0, 2)), [], np.zeros((0, 4)), (72, 96))
    image_ids = [image["id"] for image in json.loads((tiny_dataset.root / "val.json").read_text())["images"]]
    with PredictionWriter(tmp_path / "p.npz") as writer:
        for image_id in image_ids[1:]:
            writer.write(image_id, prediction)
    arguments = ["--predictions", tmp_path / "p.npz", "--format", "egtr", "--json", tiny_dataset.root / "val.json"]
    assert main(["score", *map(str, arguments)]) == 1
    assert f"for 1 images: {image_ids[0]}" in capsys.readouterr().err
    assert main(["score", *map(str, arguments), "--partial", "--per-predicate"]) == 0
    # Nothing was predicted; names are the dataset's.
    printed = capsys.readouterr().out
    assert "5 images" in printed and "| R@20 / 50 / 100" in printed and "| predicate0" in printed


def test_given_groups_and_a_changed_protocol(predictions, tmp_path, capsys):
    groups = tmp_path / "groups.json"
    groups.write_text('{"head": ["holds"], "body": ["near"], "tail": []}')
    arguments = [
        "score",
        str(predictions),
        "--protocol",
        "iou0,recall=micro",
        "--top-k",
        "1",
        "--groups",
        str(groups),
    ]
    assert main([*arguments, "--per-predicate", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "iou0,recall=micro" in printed.out and "thirds of the predicates" not in printed.err
    (metrics,) = json.loads((tmp_path / "evaluation.json").read_text())["protocols"].values()
    # near is found, holds comes second.
    assert [metrics["metrics"][f"{name}-mR@1"] for name in ("head", "body", "tail")] == [0.0, 100.0, None]
    found = {row["predicate"]: row["group"] for row in metrics["per_predicate"]}
    assert found == {"near": "body", "holds": "head", "under": "-"}
    assert main(["score", str(predictions), "--top-k", "1"]) == 0
    assert "thirds of the predicates" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["score", str(predictions), "--protocol", "house,recall=micro"])
    assert "house is unknown, choose one of reference" in capsys.readouterr().err
