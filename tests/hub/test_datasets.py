"""Published datasets by name, from servers on this machine to a report of `egtr data check`."""

import json
import re
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.cli import main
from egtr.data.datasets import read_annotations, register_builtin_datasets
from egtr.hub import hub_dataset
from egtr.hub.datasets import DATASETS, find_dataset, get_dataset
from egtr.structures import ConfigurationError, DataError, DownloadError, WriteError
from tests.hub.internet import Served
from tests.hub.published import (
    SPLITS,
    as_lists,
    draw,
    make_coco_repository,
    make_parquet_repository,
    make_rows,
    make_visual_genome,
    make_zip,
    write_parquet,
)

VG = find_dataset("vg150", "egtr")
PSG = find_dataset("psg")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of all datasets, also of the registered ones while the test runs."""
    yield tmp_path / "datasets"
    register_builtin_datasets()


def publish(internet, files, dataset=PSG):
    for name, content in files.items():
        internet.files[f"{dataset.addresses[0]}/{name}"] = Served(content)


def publish_visual_genome(internet):
    for address, content in zip(VG.addresses, make_visual_genome(), strict=True):
        internet.files[address] = Served(content)


def read_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make", [make_parquet_repository, make_coco_repository])
@pytest.mark.parametrize("name", ["vg150", "psg", "indoorvg"])
def test_from_the_hub_to_the_report(internet, root, capsys, make, name):
    publish(internet, make(), find_dataset(name))
    assert main(["data", "get", name, "--root", str(root)]) == 1
    error = capsys.readouterr().err
    assert f"{name}: is not here. `egtr data get {name} --annotations coco` fetches it" in error
    assert main(["data", "get", name, "--root", str(root), "--yes"]) == 0
    shown = capsys.readouterr()
    assert "licence" in shown.err and f"{name}_coco_train" in shown.err
    assert "0 errors" in shown.out or "no errors" in shown.out.lower()
    assert sorted(path.name for path in root.iterdir() if not path.name.startswith(".")) == [f"{name}_coco"]
    assert not list(root.glob("*.download"))
    for split, number in SPLITS.items():
        annotations = read_annotations(f"{name}_coco_{split}")
        assert len(annotations.images) == number and annotations.problems == []
        assert annotations.thing_classes == ["cup", "table"] and annotations.predicate_classes == ["on", "beside"]
        assert [image.relations.tolist() for image in annotations.images] == [[[0, 1, 0]]] * number
        for row in make_rows(split):
            assert (root / f"{name}_coco" / split / row["file_name"]).read_bytes() == row["image"]["bytes"]
    # The second call asks no one.
    internet.asked.clear()
    assert main(["data", "get", name, "--root", str(root)]) == 0
    assert internet.asked == []


def test_rows_as_other_versions_write_them(internet, root):
    files = make_parquet_repository(own_ids=True)
    files["data/test-00000-of-00001.parquet"] = write_parquet(as_lists(make_rows("test", own_ids=True)))
    files["data/validation-00000-of-00001.parquet"] = files.pop("data/val-00000-of-00001.parquet")
    publish(internet, files)
    register_builtin_datasets(str(root))
    get_dataset(PSG, root)
    for split, number in SPLITS.items():
        annotations = read_annotations(f"psg_coco_{split}")
        assert annotations.problems == []
        assert [image.relations.tolist() for image in annotations.images] == [[[0, 1, 0]]] * number


def test_a_dataset_that_was_cut_continues(internet, root):
    publish(internet, make_parquet_repository())
    broken = internet.files[f"{PSG.addresses[0]}/data/train-00001-of-00002.parquet"]
    broken.cuts = [200] * 20
    with pytest.raises(DownloadError, match=re.escape("hf:maelic/PSG-coco-format")):
        get_dataset(PSG, root)
    assert not (root / PSG.folder).exists()
    broken.cuts.clear()
    internet.asked.clear()
    get_dataset(PSG, root)
    assert internet.gets("train-00000") == [] and internet.gets("train-00001") != []
    assert len(json.loads((root / PSG.folder / "train/_annotations.coco.json").read_text())["images"]) == 5


def test_a_publisher_who_changes_the_dataset_meanwhile(internet, root, monkeypatch):
    publish(internet, make_parquet_repository())
    internet.files[f"{PSG.addresses[0]}/data/val-00000-of-00001.parquet"].cuts = [200] * 20
    with pytest.raises(DownloadError):
        get_dataset(PSG, root)
    monkeypatch.setattr("tests.hub.internet.COMMIT", "e" * 40)
    internet.files.clear()
    publish(internet, make_parquet_repository(own_ids=True))
    internet.asked.clear()
    get_dataset(PSG, root)
    assert internet.gets("train-00000") != []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data/val-00000-of-00001.parquet": None}, "has no val: neither"),
        ({"categories.json": b"[]"}, "names no categories"),
        ({"categories.json": None}, "names no categories"),
        ({"data/val-00000-of-00001.parquet": b"PAR1 nonsense"}, "row 0: is no image with objects and relations"),
        (
            {"data/val-00000-of-00001.parquet": write_parquet([{"image": {"bytes": b""}, "file_name": "a.jpg"}])},
            "no column 'image_id'",
        ),
        (
            {"data/val-00000-of-00001.parquet": write_parquet([make_rows("val")[0] | {"file_name": "../../a.jpg"}])},
            "leads out of its folder",
        ),
        (
            {"data/val-00000-of-00001.parquet": write_parquet([make_rows("val")[0] | {"file_name": "/a.jpg"}])},
            "leads out of its folder",
        ),
        (
            {"data/val-00000-of-00001.parquet": write_parquet([make_rows("val")[0] | {"image": {"path": "a.jpg"}}])},
            "no column 'bytes'",
        ),
    ],
)
def test_repositories_of_another_layout(internet, root, change, message):
    files = make_parquet_repository() | change
    publish(internet, {name: content for name, content in files.items() if content is not None})
    with pytest.raises((DownloadError, DataError), match=message):
        get_dataset(PSG, root)
    assert not (root / PSG.folder).exists() and not list(root.rglob("a.jpg"))


def test_objects_that_share_a_number_in_an_image(internet, root):
    rows = make_rows("val", own_ids=True)
    rows[0]["objects"][1]["id"] = 1
    publish(internet, make_parquet_repository() | {"data/val-00000-of-00001.parquet": write_parquet(rows)})
    with pytest.raises(DataError, match="an image has two objects of one id"):
        get_dataset(PSG, root)


def test_a_disk_without_room(internet, root, monkeypatch):
    publish(internet, make_parquet_repository())
    publish_visual_genome(internet)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(WriteError, match=r"GB are needed, but 0.0 GB are free"):
        get_dataset(PSG, root)
    with pytest.raises(WriteError, match=r"are free"):
        get_dataset(VG, root)
    assert internet.gets("parquet") == []


def test_a_folder_that_holds_something_else(internet, root):
    publish(internet, make_parquet_repository())
    (root / PSG.folder).mkdir(parents=True)
    (root / PSG.folder / "mine.txt").write_text("mine")
    with pytest.raises(WriteError, match="psg_coco: holds something, but not the whole dataset"):
        get_dataset(PSG, root)
    assert read_files(root / PSG.folder) == {"mine.txt": b"mine"}


def test_visual_genome_of_egtr(internet, root, capsys):
    publish_visual_genome(internet)
    assert main(["data", "get", "vg150", "--annotations", "egtr", "--root", str(root), "--yes"]) == 0
    shown = capsys.readouterr()
    assert "vg150_train, vg150_val, vg150_test" in shown.err
    names = sorted(path.name for path in (root / "vg150").iterdir())
    assert names == ["images", "rel.json", "test.json", "train.json", "val.json"]
    assert (root / "vg150/images/100.jpg").read_bytes() == draw(100)
    assert len(read_annotations("vg150_test").images) == 3
    assert not list(root.glob(".*.download"))


def test_visual_genome_continues_and_takes_images_that_are_there(internet, root, tmp_path, monkeypatch):
    publish_visual_genome(internet)
    # Of so small a file, the cut would break the question for its size already.
    monkeypatch.setattr("egtr.hub.visual_genome.find_size", lambda address, path: None)
    second = internet.files[VG.addresses[2]]
    second.cuts = [500] * 40
    with pytest.raises(DownloadError, match="images2.zip"):
        get_dataset(VG, root)
    second.cuts.clear()
    internet.asked.clear()
    get_dataset(VG, root)
    assert internet.gets("/images.zip") == [] and internet.gets("confirm") == []
    # A second folder, whose images are a link to the first.
    other = tmp_path / "other"
    (other / "vg150").mkdir(parents=True)
    (other / "vg150/images").symlink_to(root / "vg150/images")
    internet.asked.clear()
    get_dataset(VG, other)
    assert internet.gets("images") == []
    assert (other / "vg150/images").is_symlink()


@pytest.mark.parametrize(
    ("number", "content", "message"),
    [
        (0, b"{}", "is no archive"),
        (0, make_zip({"vg/train.json": b"{}"}), "holds no val.json and no test.json and no rel.json"),
        (
            0,
            make_zip({f"vg/{n}.json": b"[]" for n in ("train", "val", "test", "rel")}),
            "train.json: lists no images",
        ),
        (2, make_zip({"VG_100K/1.jpg": draw(1)}), "lacks 4 of 10 images that the annotations name, such as 201.jpg"),
        (1, b"<!DOCTYPE html><html>moved</html>", "a web page in place of the file"),
    ],
)
def test_archives_of_another_layout(internet, root, number, content, message):
    publish_visual_genome(internet)
    internet.files[VG.addresses[number]] = Served(content)
    with pytest.raises((DataError, DownloadError), match=message):
        get_dataset(VG, root)


def test_without_pyarrow_nothing_is_downloaded(internet, root, monkeypatch):
    publish(internet, make_parquet_repository())
    monkeypatch.setattr("egtr.hub.parquet.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install pyarrow"):
        get_dataset(PSG, root)
    assert internet.gets("/resolve/") == []
    # Images beside their annotations need no reader.
    internet.files.clear()
    publish(internet, make_coco_repository())
    get_dataset(PSG, root)


def test_names_that_are_none():
    with pytest.raises(ConfigurationError, match="psg: cannot be fetched with annotations egtr. Known are: vg150"):
        find_dataset("psg", "egtr")
    with pytest.raises(SystemExit):
        main(["data", "get", "coco"])


def test_every_dataset_is_registered():
    register_builtin_datasets()
    for dataset in DATASETS:
        for name, split in zip(dataset.registered, hub_dataset.SPLITS, strict=True):
            assert name in DatasetCatalog
            assert f"/{dataset.folder}/" in MetadataCatalog.get(name).json_file
            assert "egtr data get " in MetadataCatalog.get(name).remedy
            assert split in MetadataCatalog.get(name).json_file


def test_without_internet(internet, root, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="hf:maelic/PSG-coco-format: cannot be fetched"):
        get_dataset(PSG, root)
    monkeypatch.setenv("EGTR_OFFLINE", "1")
    for dataset in (PSG, VG):
        with pytest.raises(DownloadError, match="EGTR_OFFLINE"):
            get_dataset(dataset, root)
