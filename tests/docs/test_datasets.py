"""Each command for the Visual Genome of another repository, on small files that lie as that repository keeps them."""

import json
import re
import shlex
import shutil

import pytest

from egtr.cli import main
from tests.docs.commands import ROOT
from tests.hub.published import CATEGORIES, SPLITS, make_coco, make_rows, make_visual_genome

PAGE = (ROOT / "docs/datasets.md").read_text("utf-8")
SECTION = PAGE.split("## Visual Genome of another repository")[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| \[?([^|\]]+).*\| `(egtr data check [^`]*)` \|$", SECTION, re.MULTILINE))


def write_images(folder, splits=SPLITS):
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for row in make_rows(split):
            (folder / row["file_name"]).write_bytes(row["image"]["bytes"])


def write_egtr(folder):
    write_images(folder / "images")
    shutil.rmtree(folder / "vg", ignore_errors=True)
    (folder / "all.zip").write_bytes(make_visual_genome()[0])
    shutil.unpack_archive(folder / "all.zip", folder)
    for path in (folder / "vg").iterdir():
        path.rename(folder / path.name)


def write_h5(folder, tmp_path):
    write_egtr(tmp_path / "egtr")
    inputs = [str(tmp_path / "egtr" / f"{split}.json") for split in SPLITS]
    assert main(["data", "convert", *inputs, "--from", "egtr", "--to", "vg_h5", "--output", str(folder)]) == 0
    for path in folder.iterdir():
        path.rename(
            folder / path.name.replace("VG-SGG.", "VG-SGG-with-attri.").replace("dicts.", "dicts-with-attri.")
        )
    write_images(folder / "VG_100K")


def write_coco(folder):
    for split in SPLITS:
        write_images(folder / split, [split])
        (folder / split / "_annotations.coco.json").write_text(json.dumps(make_coco(split)))


def write_openpsg(file, images, prefix="", stuff=()):
    """Write boxes as corners, numbers from 0, and relations by the places of objects in their image."""
    data = []
    for row in (row for split in SPLITS for row in make_rows(split)):
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (each["bbox"] for each in row["objects"])]
        data.append(
            {key: row[key] for key in ("height", "width")}
            | {"file_name": prefix + row["file_name"], "image_id": str(row["image_id"]), "relations": [[0, 1, 0]]}
            | {"annotations": [{"bbox": box, "bbox_mode": 0, "category_id": k} for k, box in enumerate(boxes)]}
        )
    names = [each["name"] for each in CATEGORIES["categories"]]
    content = {"data": data, "thing_classes": names, "stuff_classes": list(stuff)}
    content["predicate_classes"] = [each["name"] for each in CATEGORIES["rel_categories"]]
    content["test_image_ids"] = [str(row["image_id"]) for row in make_rows("test")]
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))
    write_images(images)


LAYOUTS = {
    "EGTR": lambda root: write_egtr(root / "dataset/visual_genome"),
    "RelTR": lambda root: write_egtr(root / "data/vg"),
    "Scene-Graph-Benchmark": lambda root: write_h5(root / "datasets/vg", root),
    "SGG-Benchmark": lambda root: write_coco(root / "datasets/VG150/VG150_coco_format"),
    "OpenPSG": lambda root: write_openpsg(root / "data/vg/data_openpsg.json", root / "data/vg/VG_100K"),
    "OpenPSG, PSG": lambda root: write_openpsg(
        root / "data/psg/psg.json", root / "data/coco/train2017", "train2017/", ["sky"]
    ),
}


def check(command):
    # As in a shell, a "#" in a word begins no comment.
    assert main(shlex.split(command)[1:]) == 0


def test_every_row_has_a_layout():
    assert {name.strip() for name in ROWS} == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_command_of_a_repository(name, tmp_path, monkeypatch, capsys):
    LAYOUTS[name](tmp_path)
    monkeypatch.chdir(tmp_path)
    command = next(command for repository, command in ROWS.items() if repository.strip() == name)
    capsys.readouterr()
    check(command)
    shown = capsys.readouterr().out
    # OpenPSG's train are all images that are not in test.
    number = SPLITS["train"] + (SPLITS["val"] if "OpenPSG" in name else 0)
    assert re.search(rf"\b{number} images\b", shown), shown
    for word in ("cup", "table", "on"):
        assert word in shown
    # The other splits, as the page says.
    for split in ("test",) if "OpenPSG" in name else ("val", "test"):
        check(command.replace("/train/", f"/{split}/").replace("train.json", f"{split}.json")
                    .replace("#train", f"#{split}").replace("format/train", f"format/{split}"))  # fmt: skip
