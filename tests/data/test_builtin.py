import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.data import register_builtin_datasets
from egtr.data.scenes import SCENES_CLASSES, SCENES_PREDICATES
from egtr.data.statistics import load_triplet_counts
from egtr.structures import EGTRError
from tests.data.raw_files import SCENES, WRITERS


@pytest.fixture
def builtin_elsewhere(tmp_path, monkeypatch):
    """The built-in datasets registered under tmp_path, and back where they were afterwards."""
    with monkeypatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(tmp_path))
        register_builtin_datasets()
        yield tmp_path
    register_builtin_datasets()


def test_builtin_names_follow_detectron2_datasets(builtin_elsewhere):
    for folder in ("vg150", "scenes"):
        for split in ("train", "val", "test"):
            metadata = MetadataCatalog.get(f"{folder}_{split}")
            assert metadata.json_file == str(builtin_elsewhere / folder / f"{split}.json")
            assert f"{folder}_{split}" in DatasetCatalog
    # scenes knows its classes before it is drawn.
    assert MetadataCatalog.get("scenes_val").thing_classes == list(SCENES_CLASSES)
    assert MetadataCatalog.get("scenes_val").predicate_classes == list(SCENES_PREDICATES)
    before = MetadataCatalog.get("scenes_val")
    register_builtin_datasets()
    assert MetadataCatalog.get("scenes_val") is before


@pytest.mark.parametrize(
    "name, remedy", [("scenes_train", "egtr data prepare-scenes"), ("vg150_test", "Visual Genome")]
)
def test_missing_data_set_names_path_variable_and_remedy(builtin_elsewhere, name, remedy):
    folder, split = name.split("_")
    with pytest.raises(EGTRError) as error:
        DatasetCatalog.get(name)
    message = str(error.value)
    assert str(builtin_elsewhere / folder / f"{split}.json") in message
    assert "DETECTRON2_DATASETS" in message and str(builtin_elsewhere) in message
    assert remedy in message


@pytest.mark.parametrize(
    "format, folder, images, old_name, new_name, dataset",
    [
        ("egtr", "vg150", "vg150/images", "train.json", "train.json", "vg150_train"),
        ("vg_h5", "vg150_h5", "vg150_h5/images", "VG-SGG.h5", "VG-SGG-with-attri.h5", "vg150_h5_val"),
        ("oiv6", "oiv6/annotations", "oiv6/images", "vrd-train-anno.json", "vrd-test-anno.json", "oiv6_test"),
        ("psg", "psg", "coco", "psg.json", "psg.json", "psg_train"),
    ],
)
def test_builtin_trees(builtin_elsewhere, format, folder, images, old_name, new_name, dataset):
    root = builtin_elsewhere / folder
    with pytest.raises(
        EGTRError,
        match=f"{new_name} is missing.*{dataset}.*DETECTRON2_DATASETS, an environment variable that is .* Put ",
    ):
        DatasetCatalog.get(dataset)
    WRITERS[format](root, SCENES)
    (root / old_name).rename(root / new_name)
    if format == "vg_h5":
        (root / "VG-SGG-dicts.json").rename(root / "VG-SGG-dicts-with-attri.json")
    with pytest.raises(EGTRError, match=f"{images} is missing"):
        DatasetCatalog.get(dataset)
    (builtin_elsewhere / images).mkdir(parents=True)
    (first, *_) = DatasetCatalog.get(dataset)
    assert [a["category_id"] for a in first["annotations"]] == [2, 5] and first["relations"] == [[1, 0, 2]]
    assert first["file_name"].startswith(str(builtin_elsewhere / images))


@pytest.mark.parametrize(
    ("name", "as_released", "num_images", "num_relations"),
    [("oiv6_train", "training", 1, 1), ("oiv6_detector_train", "boxes", 2, 2), ("oiv6_test", "boxes", 2, 2)],
)
def test_open_images_is_read_as_released(builtin_elsewhere, name, as_released, num_images, num_relations):
    """One image with a triplet that is there twice, and one image of 201 boxes."""
    twice = {"id": 1, "objects": [(0, 0, 20, 20, 2, False), (10, 10, 30, 30, 5, False)], "relations": [(1, 0, 2)] * 2}
    many = {"id": 2, "objects": [(0, 0, 20, 20, 2, False)] * 201, "relations": []}
    root = builtin_elsewhere / "oiv6" / "annotations"
    WRITERS["oiv6"](root, [twice, many])
    (root / "vrd-train-anno.json").rename(root / f"vrd-{name.rpartition('_')[2]}-anno.json")
    (builtin_elsewhere / "oiv6/images").mkdir(parents=True)
    assert MetadataCatalog.get(name).reader_options["as_released"] == as_released
    first, *others = DatasetCatalog.get(name)
    assert 1 + len(others) == num_images and len(first["relations"]) == num_relations
    assert [annotation["bbox"] for annotation in first["annotations"]] == [[0, 0, 21, 21], [10, 10, 31, 31]]
    if name != "oiv6_test":
        load_triplet_counts(name)
        way = ".released" if name == "oiv6_train" else ""
        assert [path.name for path in root.glob("*.npz")] == [f"vrd-train-anno{way}.statistics.npz"]
