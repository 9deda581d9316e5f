"""`egtr data convert` from the command line to the files."""

import json
import re
from pathlib import Path

import pytest
import yaml

from egtr.cli import main
from egtr.data.datasets import read_coco_sg, read_egtr_json, read_vg_h5
from tests.cli.documents import find_commands
from tests.data.random_annotations import assert_same
from tests.data.two_tables import coco_sg

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs/examples/label_studio"


def convert(*words):
    return main(["data", "convert", *map(str, words)])


def test_the_example_through_all_formats(tmp_path, capsys):
    export = ["--from", "label_studio", "--input", EXAMPLE / "export.json", "--image-root", EXAMPLE / "photos"]
    mine = tmp_path / "mine"
    assert convert(*export, "--split", 0.6, 0.2, 0.2, "--to", "coco_sg", "--output", mine) == 0
    out = capsys.readouterr().out
    assert re.search(r"train +3 +15 +10\n", out) and "5 classes, 5 predicates" in out
    # The lines that it prints register what it wrote.
    rows = yaml.safe_load(out[out.index("DATASETS:") :])["DATASETS"]["REGISTER"]
    assert rows[0] == ["mine_train", "coco_sg", str(mine / "train.json"), str(EXAMPLE / "photos")]
    assert [row[0] for row in rows] == ["mine_train", "mine_val", "mine_test"]

    files = [mine / f"{split}.json" for split in ("train", "val", "test")]
    originals = {path.stem: read_coco_sg(str(path), "photos") for path in files}
    images = [image.file_name for part in originals.values() for image in part.images]
    assert sorted(images) == sorted(path.name for path in EXAMPLE.glob("photos/*"))
    assert convert("--from", "coco_sg", "--input", *files, "--to", "egtr", "--output", tmp_path / "egtr") == 0
    for split, original in originals.items():
        assert_same(read_egtr_json(str(tmp_path / f"egtr/{split}.json"), "photos"), original)

    # An h5 file wants images that are named by their ids.
    assert convert("--from", "coco_sg", "--input", *files, "--to", "vg_h5", "--output", tmp_path / "h5") == 1
    assert "5 images are not named <image id>.jpg" in capsys.readouterr().err
    for path in files:
        content = json.loads(path.read_text())
        for image in content["images"]:
            image["file_name"] = f"{image['id']}.jpg"
        path.write_text(json.dumps(content))
    assert convert("--from", "coco_sg", "--input", *files, "--to", "vg_h5", "--output", tmp_path / "h5") == 0
    h5 = [f"{tmp_path}/h5/VG-SGG.h5#{split}" for split in originals]
    assert (
        yaml.safe_load(capsys.readouterr().out.partition("configuration:")[2])["DATASETS"]["REGISTER"][1][2] == h5[1]
    )
    assert convert("--from", "vg_h5", "--input", *h5, "--to", "coco_sg", "--output", tmp_path / "back") == 0
    for path in files:
        back, before = (read_coco_sg(str(file), "photos") for file in (tmp_path / "back" / path.name, path))
        # Long sides of at most 281 pixels: one of 1024 is at most 0.28.
        assert_same(back, before, 0.28)
        assert_same(read_vg_h5(f"{tmp_path}/h5/VG-SGG.h5#{path.stem}", "photos"), back)


def test_labels_of_two_exports_are_united(tmp_path, capsys):
    tasks = json.loads((EXAMPLE / "export.json").read_text())
    for name, part in (("a", tasks[:2]), ("b", tasks[2:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    inputs = [f"train={tmp_path}/a.json", f"val={tmp_path}/b.json"]
    assert convert("--from", "label_studio", "--input", *inputs, "--to", "egtr", "--output", tmp_path / "out") == 0
    assert "5 classes, 5 predicates" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["rel.json", "train.json", "val.json"]


def test_one_clear_message(tmp_path, capsys):
    tasks = json.loads((EXAMPLE / "export.json").read_text())
    tasks[1]["annotations"][0]["result"][0]["value"]["rectanglelabels"] = []
    tasks[2]["annotations"] = []
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    words = [
        "--from",
        "label_studio",
        "--input",
        tmp_path / "export.json",
        "--to",
        "coco_sg",
        "--output",
        tmp_path / "o",
    ]
    assert convert(*words) == 1
    err = capsys.readouterr().err
    assert "error: " in err and "task 2, region" in err and "has no label" in err
    assert not (tmp_path / "o").exists()
    assert convert(*words, "--drop-unsupported") == 0
    assert "warning: " in (err := capsys.readouterr().err) and "nothing is annotated" in err
    assert convert(*words, "--drop-unsupported") == 1
    assert "there already; --overwrite" in capsys.readouterr().err
    assert convert(*words, "--drop-unsupported", "--overwrite") == 0


def test_an_export_without_annotations(tmp_path, capsys):
    task = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [], "predictions": [{"result": []}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    words = ["--from", "label_studio", "--input", tmp_path / "export.json", "--to", "coco_sg"]
    assert convert(*words, "--output", tmp_path / "new") == 1
    assert "no image is annotated, so that there is nothing to write. Predictions of" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_table_counts_what_is_written(tmp_path, capsys):
    """An h5 file holds no crowds."""
    content = coco_sg()
    for image in content["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    content["annotations"][0]["iscrowd"] = 1
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    words = [
        "--from",
        "coco_sg",
        "--input",
        path,
        "--to",
        "vg_h5",
        "--drop-unsupported",
        "--output",
        tmp_path / "new",
    ]
    assert convert(*words) == 0
    out, err = capsys.readouterr()
    assert re.search(r"train +2 +5 +3\n", out)
    assert "1 crowds and boxes without area are left out with 1 of the 4 relations" in err
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    path.write_text(json.dumps(content))
    assert convert(*words, "--overwrite") == 1
    assert "No relation is left" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--split", "0.5", "0.5", "--input", "a", "b"], ["--input", "a", "--options", "x"]]
)
def test_usage(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        convert("--from", "egtr", "--to", "egtr", "--output", "x", *words)
    assert "error: --" in capsys.readouterr().err


def test_what_the_guide_names_exists():
    guide = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    links = [ROOT / "docs" / path for path in re.findall(r"\]\((?!http|#)([^)#]+)\)", guide)]
    named = [ROOT / path for path in re.findall(r"(?<![\w/])(?:configs|docs|tools|egtr|projects)/[\w/.-]*\w", guide)]
    assert len(links) > 3 and len(named) > 6
    assert [path for path in links + named if not path.exists()] == []


@pytest.mark.slow
def test_the_guide_for_data_of_ones_own(tmp_path, monkeypatch):
    """The commands of docs/datasets.md, with a short training."""
    guide = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    section = guide[guide.index("## Data of your own") : guide.index("## Datasets that the library knows")]
    commands = find_commands(section)
    assert [" ".join(command[: 1 + (command[0] == "data")]) for command in commands] == [
        "data convert", "data check", "train", "demo",
    ]  # fmt: skip
    for folder in ("configs", "docs", "egtr", "projects", "tools"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    for command in commands:
        if command[0] == "train":
            command += ["SOLVER.MAX_ITER", "4", "SOLVER.WARMUP_ITERS", "0", "DATALOADER.NUM_WORKERS", "0"]
        assert main(command) == 0
    graphs = sorted(tmp_path.glob("output/mine/graphs/*.json"))
    assert [path.stem for path in graphs] == ["football", "kite", "park", "party", "snow"]
    assert json.loads(graphs[0].read_text())["class_names"] == ["ball", "dog", "hat", "person", "tree"]
    assert (tmp_path / "output/mine/check/samples.png").stat().st_size > 10_000
