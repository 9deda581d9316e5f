"""A dataset with one of each kind of error, from the library and from the command line."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from egtr.data.check import check_dataset, print_report
from egtr.data.datasets import read_egtr_json
from egtr.structures import EGTRError
from egtr.visualization import draw_histograms, draw_samples
from tests.data.damage import HEIGHT, PIXELS, WIDTH, write_damaged
from tests.running import largest_file

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "check_dataset.py"
WHOLE = ("good.png", "boxes.png", "unknown.png", "empty.png", "single.png")
DAMAGED = ("nowhere.jpg", "cut.jpg", "zero.jpg", "text.jpg", "small.png")


def write(folder, annotations, relations, names):
    """EGTR's JSON: the boxes (class id, x, y, width, height) and relations of each image, numbered from 1."""
    images = [{"id": k + 1, "file_name": name, "height": HEIGHT, "width": WIDTH} for k, name in enumerate(names)]
    rows = [(k + 1, row) for k, boxes in enumerate(annotations) for row in boxes]
    content = {
        "images": images,
        "annotations": [
            {"id": n, "image_id": k, "category_id": row[0], "bbox": row[1:], "iscrowd": 0}
            for n, (k, row) in enumerate(rows)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "[red]dog"}, {"id": 3, "name": "yeti"}],
    }
    (folder / "train.json").write_text(json.dumps(content))
    rel = {"train": {str(k + 1): rows for k, rows in enumerate(relations)}}
    rel["rel_categories"] = ["__background__", "on", "near", "eats"]
    (folder / "rel.json").write_text(json.dumps(rel))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The folder. Class ids are 1-based; so are predicates, after the background."""
    folder = tmp_path_factory.mktemp("damaged")
    write_damaged(folder / "images")
    for name in WHOLE:
        Image.fromarray(PIXELS).save(folder / "images" / name)
    cat = (1, 4, 4, 20, 20)
    annotations = [
        [cat, (2, 30, 10, 12, 30)],
        # leaves the image of 64 x 48 on the right; without area; beside the image altogether
        [(1, 50, 10, 30, 20), (2, 10, 10, 0, 20), (2, 70, 10, 20, 20)],
        [cat, (9, 30, 10, 12, 30)],
        [],
        [cat],
        *([cat] for _ in DAMAGED),
    ]
    relations = [
        # the same one twice, which training takes once, and another one on the same pair
        [[0, 1, 1], [0, 1, 1], [0, 1, 2]],
        # to itself; the other two join boxes that are left out
        [[0, 0, 1], [0, 1, 1], [2, 0, 2]],
        # object 5 of two; predicate 7 of three
        [[0, 5, 1], [0, 1, 7]],
    ]
    write(folder, annotations, relations, WHOLE + DAMAGED)
    return folder


@pytest.fixture(scope="module")
def warned(tmp_path_factory):
    """A folder with nothing worse than warnings: "[red]dog", "yeti", "near" and "eats" do not occur."""
    folder = tmp_path_factory.mktemp("warned")
    (folder / "images").mkdir()
    Image.fromarray(PIXELS).save(folder / "images" / "good.png")
    write(folder, [[(1, 4, 4, 20, 20)] * 2], [[[0, 1, 1]]], ["good.png"])
    return folder


# kind: severity, count, image ids. Images 5 to 10 have no relation, image 4 not even an object.
EXPECTED = {
    "unknown-category": ("error", 1, [3]),
    "missing-object": ("error", 1, [3]),
    "unknown-predicate": ("error", 1, [3]),
    "missing-image": ("error", 1, [6]),
    "truncated-image": ("error", 1, [7]),
    "unreadable-image": ("error", 2, [8, 9]),
    "size-mismatch": ("error", 1, [10]),
    "box-outside": ("warning", 2, [2]),
    "empty-box": ("warning", 1, [2]),
    "self-relation": ("warning", 1, [2]),
    "duplicate-relation": ("warning", 1, [1]),
    "no-objects": ("warning", 1, [4]),
    "no-relations": ("warning", 6, [5, 6, 7, 8, 9, 10]),
    "lost-relations": ("warning", 1, []),
    "unused-class": ("warning", 1, []),
    "unused-predicate": ("warning", 1, []),
}


def read(folder):
    return read_egtr_json(str(folder / "train.json"), str(folder / "images"))


def run_here(monkeypatch, *arguments):
    """Exit status of the tool in this process: another one would take seconds to import PyTorch."""
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name="__main__")
    return stop.value.code or 0


def test_damaged_set_from_the_command_line(damaged, tmp_path, monkeypatch, capfd):
    files = ("--format", "egtr", "--json", damaged / "train.json", "--image-root", damaged / "images")
    assert run_here(monkeypatch, *files, "--output", tmp_path / "report", "--workers", "2") == 1
    output = capfd.readouterr()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    found = {p["kind"]: (p["severity"], p["count"], p["image_ids"]) for p in report["problems"]}
    assert found == EXPECTED
    assert all(p["count"] == len(p["messages"]) for p in report["problems"])
    assert (report["errors"], report["warnings"]) == (8, 15)
    # Errors come first, and the most frequent of them before others.
    severities = [p["severity"] for p in report["problems"]]
    assert severities == sorted(severities) and report["problems"][0]["kind"] == "unreadable-image"
    # Cats: one each in images 1 to 3 and 5 to 10. Dogs: one in image 1; those of image 2 are left out.
    assert report["classes"] == [
        {"name": "cat", "count": 9, "images": 9},
        {"name": "[red]dog", "count": 1, "images": 1},
        {"name": "yeti", "count": 0, "images": 0},
    ]
    # "on": twice in image 1 and once, to itself, in image 2. "near": once in image 1.
    assert report["predicates"] == [
        {"name": "on", "count": 3, "images": 2},
        {"name": "near", "count": 1, "images": 1},
        {"name": "eats", "count": 0, "images": 0},
    ]
    assert (report["images"], report["objects"], report["relations"]) == (10, 10, 4)
    assert report["source"] == str(damaged / "train.json") and report["images_read"] is True
    for name in ("samples.png", "histograms.png"):
        with Image.open(tmp_path / "report" / name) as image:
            assert image.width > 500 and len(image.convert("RGB").getcolors(1 << 24)) > 50

    assert "\x1b[" not in output.out
    for words in (
        "10 images, 10 objects of 3 classes, 4 relations of 3 predicates",
        "[red]dog",
        f"{damaged / 'images' / 'nowhere.jpg'}: cannot be read as an image: there is no such file",
        "... and 3 more",
        "8 errors, 15 warnings: training on it would fail, unless DATALOADER.SKIP_BROKEN leaves these images out",
    ):
        assert words in output.out, words
    assert "reading images: 100%" in output.err


def test_warnings_alone_are_no_failure(warned, monkeypatch, capfd):
    files = ("--format", "egtr", "--json", warned / "train.json", "--image-root", warned / "images")
    assert run_here(monkeypatch, *files) == 0
    assert "0 errors, 4 warnings: nothing that would break training" in capfd.readouterr().out


def test_registered_set_and_no_images(tiny_dataset, tmp_path, monkeypatch, capfd):
    options = ("--no-images", "--samples", "0", "--output", tmp_path / "report")
    assert run_here(monkeypatch, "--dataset", tiny_dataset.train, *options) == 0
    output = capfd.readouterr().out
    assert "6 images" in output and "(images were not read)" in output
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["histograms.png", "report.json"]


def test_a_full_disk(tiny_dataset, tmp_path, monkeypatch, capfd):
    options, name = ("--no-images", "--output", tmp_path / "report"), "histograms.png"
    with largest_file(2000):
        assert run_here(monkeypatch, "--dataset", tiny_dataset.train, *options) == 1
    assert f"{name}: cannot be written (File too large)" in capfd.readouterr().err
    assert name not in [path.name for path in (tmp_path / "report").iterdir()]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--dataset", "scenes_vall"], 1, "is not registered. Did you mean scenes_val? Known"),
        (["--dataset", "no_such_set"], 1, "'no_such_set' (DATASETS.TRAIN, DATASETS.TEST) is not registered. Known"),
        (["--dataset", "{tiny}", "--workers", "0"], 2, "at least 1"),
        (["--dataset", "{tiny}", "--output", "{file}"], 1, "{file}"),
        (["--format", "egtr", "--json", "none/train.json", "--image-root", "none"], 1, "none/train.json"),
        (["--dataset", "{tiny}", "--format", "egtr"], 2, "give either --dataset, or"),
        (["--format", "egtr", "--json", "x.json"], 2, "give either --dataset, or"),
        ([], 2, "give either --dataset, or"),
    ],
)
def test_one_clear_line(tiny_dataset, tmp_path, monkeypatch, capfd, arguments, status, message):
    (tmp_path / "file").write_text("")
    values = {"tiny": tiny_dataset.train, "file": str(tmp_path / "file")}
    assert run_here(monkeypatch, *(argument.format(**values) for argument in arguments)) == status
    line = capfd.readouterr().err.splitlines()[-1]
    assert "error: " in line and message.format(**values) in line


def test_without_any_object_there_is_nothing_to_train_on(damaged):
    annotations = read(damaged)
    annotations.images = annotations.images[3:4]
    report = check_dataset(annotations, workers=1)
    assert ("error", "nothing-to-train-on") in report.by_kind()
    assert draw_samples(annotations, 3) is None


def test_counts_are_those_of_training(tiny_dataset):
    """Over a sound dataset they equal the dataset dicts'."""
    records = read(tiny_dataset.root)
    report = check_dataset(records, read_images=False)
    assert report.num_errors == 0 and not report.images_read
    content = json.loads((tiny_dataset.root / "train.json").read_text())
    ids = [annotation["category_id"] for annotation in content["annotations"]]
    assert report.classes.counts.tolist() == [ids.count(k + 1) for k in range(5)]
    with pytest.raises(EGTRError, match="at least 1"):
        check_dataset(records, workers=0)


def test_samples_are_whole_images_by_the_seed(damaged):
    annotations = read(damaged)
    sheet = draw_samples(annotations, 16, tile_width=150)
    # Images 1, 2 and 5; image 3 is unsound, 4 empty, the others are damaged. Three tiles with gaps of 12.
    assert sheet.width == 3 * 150 + 4 * 12
    assert sheet.tobytes() == draw_samples(annotations, 16, tile_width=150).tobytes()
    one = draw_samples(annotations, 1, tile_width=150)
    assert one.width == 150 + 2 * 12
    others = [draw_samples(annotations, 1, tile_width=150, seed=seed).tobytes() for seed in range(1, 6)]
    assert any(other != one.tobytes() for other in others)


def test_histograms_have_every_name_and_count(damaged):
    report = check_dataset(read(damaged), read_images=False)
    figure = draw_histograms({"objects": report.classes, "relations": report.predicates})
    objects, relations = figure.axes
    assert [label.get_text() for label in objects.get_yticklabels()] == ["cat", "[red]dog", "yeti"]
    assert [text.get_text() for text in objects.texts] == ["9", "1", "0"]
    assert [text.get_text() for text in relations.texts] == ["3", "1", "0"]


def test_first_examples_and_the_number_of_the_rest(damaged):
    console = Console(record=True, width=100, file=open(os.devnull, "w"))
    print_report(check_dataset(read(damaged), read_images=False), console, examples=1)
    console.file.close()
    lines = console.export_text().splitlines()
    start = lines.index("warning: no-relations")
    assert "image id 5" in lines[start + 1] and lines[start + 2] == "  ... and 5 more"
