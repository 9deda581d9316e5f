"""Rules that hold for every format, and how formats and datasets get their names."""

import tempfile
from pathlib import Path

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import strategies as st

from egtr.config import load_config
from egtr.config.defaults import get_egtr_cfg
from egtr.data import get_metadata, register_dataset
from egtr.data.datasets import FORMATS, read_annotations, register_rows, to_dataset_dicts
from egtr.structures import EGTRError
from tests.data.raw_files import CLASSES, HEIGHT, PREDICATES, SCENES, WIDTH, WRITERS
from tests.properties import check, few_or_many


def test_every_format_has_files_here():
    assert list(FORMATS) == list(WRITERS)


# Even numbers: the centre of a box, which the h5 file holds, is then a whole number too.
_xs, _ys = (st.integers(-20, (side + 40) // 2).map(lambda k: 2 * k) for side in (WIDTH, HEIGHT))


@st.composite
def _scenes(draw):
    """Images whose objects all have different classes, by which one recognises them in whatever place."""
    scenes = []
    for image_id in draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=3, unique=True)):
        labels = draw(st.permutations(range(len(CLASSES))))[: draw(st.integers(0, len(CLASSES)))]
        objects = [
            (draw(_xs), draw(_ys), draw(_xs), draw(_ys), label, draw(st.integers(0, 3)) == 0) for label in labels
        ]
        ends = st.integers(0, len(objects) - 1)
        rows = st.lists(st.tuples(ends, ends, st.integers(0, len(PREDICATES) - 1)), max_size=8)
        scenes.append({"id": image_id, "objects": objects, "relations": draw(rows) if objects else []})
    return scenes


@pytest.mark.parametrize("format", WRITERS)
@few_or_many(20, 100)
def test_dropped_objects_never_shift_relations(format, examples):
    """Boxes without area and boxes outside leave, crowds go last; relations join the objects that they joined."""

    def holds(scenes):
        assert_relations_are_not_shifted(format, scenes)

    check(examples, holds, scenes=_scenes())


def assert_relations_are_not_shifted(format, scenes):
    with tempfile.TemporaryDirectory() as folder:
        options = {"filter_empty_rels": False, "split": "train", "num_val": 0} if format == "vg_h5" else {}
        path = WRITERS[format](Path(folder), scenes)
        records = to_dataset_dicts(FORMATS[format].read(path, "images", **options))
    assert len(records) == len(scenes)
    for scene, record in zip(scenes, records, strict=True):
        expected, crowds = {}, {}
        for x1, y1, x2, y2, label, crowd in scene["objects"]:
            box = [max(x1, 0), max(y1, 0), min(x2, WIDTH), min(y2, HEIGHT)]
            if box[0] < box[2] and box[1] < box[3]:
                (crowds if crowd and format in ("egtr", "coco_sg") else expected)[label] = box
        objects, regions = record["annotations"][: len(expected)], record["annotations"][len(expected) :]
        assert {a["category_id"]: a["bbox"] for a in objects} == expected and not any(a["iscrowd"] for a in objects)
        assert {a["category_id"]: a["bbox"] for a in regions} == crowds and all(a["iscrowd"] for a in regions)
        label_of = [entry[4] for entry in scene["objects"]]
        joined = [(label_of[a], label_of[b], p) for a, b, p in scene["relations"]]
        found = [record["annotations"][k]["category_id"] for k in range(len(record["annotations"]))]
        assert [(found[a], found[b], p) for a, b, p in record["relations"]] == [
            row for row in joined if row[0] in expected and row[1] in expected
        ]


@pytest.fixture
def forget():
    """Names that the test registers are forgotten afterwards."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("format", WRITERS)
def test_registered_by_the_name_of_the_format(tmp_path, forget, format):
    path = WRITERS[format](tmp_path, SCENES)
    images = tmp_path / "images"
    images.mkdir()
    fragment, options = {"vg_h5": ("#train", {"num_val": 0}), "psg": ("#train", {})}.get(format, ("", {}))
    register_dataset(
        "by_name", format, path + fragment, str(images), flip_predicate_pairs=[("on", "under")], **options
    )
    metadata = get_metadata("by_name")
    assert tuple(metadata.thing_classes) == CLASSES and tuple(metadata.predicate_classes) == PREDICATES
    assert (metadata.json_file, metadata.image_root) == (path, str(images))
    assert metadata.evaluator_type == "scene_graph"
    assert metadata.flip_predicate_pairs == [("on", "under")]
    assert metadata.get("one_predicate_per_pair", False) == (format == "oiv6")
    first = DatasetCatalog.get("by_name")[0]
    assert [a["category_id"] for a in first["annotations"]] == [2, 5] and first["relations"] == [[1, 0, 2]]
    assert read_annotations("by_name").images[0].relations.tolist() == [[1, 0, 2]]
    # Every file that decides what is read is named, so that statistics can be kept until one of them changes.
    for file in metadata.annotation_files:
        content = Path(file).read_bytes()
        Path(file).write_bytes(b"[")
        with pytest.raises(EGTRError, match=Path(file).name):
            DatasetCatalog.get("by_name")
        Path(file).unlink()
        with pytest.raises(EGTRError, match=f"{Path(file).name} is missing, but dataset 'by_name' needs it"):
            DatasetCatalog.get("by_name")
        Path(file).write_bytes(content)
    assert DatasetCatalog.get("by_name")[0] == first


def test_annotations_of_a_data_set_of_another_library():
    with pytest.raises(EGTRError, match="'coco_2017_val' was not registered by egtr.data"):
        read_annotations("coco_2017_val")


def _load(rows, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"DATASETS": {"REGISTER": rows}}))
    return _load_and_register(str(path))


def _load_and_register(path="", opts=()):
    cfg = load_config(path, opts)
    register_rows(cfg.DATASETS.REGISTER)
    return cfg


def test_register_in_yaml(tmp_path, forget, monkeypatch):
    WRITERS["coco_sg"](tmp_path / "data", SCENES)
    (tmp_path / "data/images").mkdir()
    monkeypatch.setenv("MY_DATA", str(tmp_path / "data"))
    row = [
        "yaml_set",
        "coco_sg",
        "$MY_DATA/train.json",
        "$MY_DATA/images",
        {"flip_predicate_pairs": [["on", "under"]]},
    ]
    cfg = _load([row], tmp_path)
    metadata = MetadataCatalog.get("yaml_set")
    assert metadata.json_file == str(tmp_path / "data/train.json")
    assert metadata.flip_predicate_pairs == [["on", "under"]]
    assert [record["image_id"] for record in DatasetCatalog.get("yaml_set")] == [4, 3]

    # A configuration that a run saved, or another process loads, registers the same again: nothing changes.
    (tmp_path / "saved.yaml").write_text(cfg.dump())
    _load_and_register(str(tmp_path / "saved.yaml"))
    assert MetadataCatalog.get("yaml_set") is metadata
    # Unless its variable has got another value.
    monkeypatch.setenv("MY_DATA", "elsewhere")
    _load_and_register(str(tmp_path / "saved.yaml"))
    assert MetadataCatalog.get("yaml_set").json_file == "elsewhere/train.json"
    # Another configuration may say something else by the same name.
    monkeypatch.chdir(tmp_path)
    _load([["yaml_set", "coco_sg", "data/train.json", "~/images"]], tmp_path)
    assert MetadataCatalog.get("yaml_set").json_file == "data/train.json"
    assert MetadataCatalog.get("yaml_set").image_root == str(Path("~/images").expanduser())
    assert MetadataCatalog.get("yaml_set").get("flip_predicate_pairs") is None
    with pytest.raises(EGTRError, match=r"images is missing.*DATASETS\.REGISTER names it.*'~/images'"):
        DatasetCatalog.get("yaml_set")


def test_register_on_the_command_line(forget):
    _load_and_register(opts=["DATASETS.REGISTER", "[['typed_set', 'psg', 'psg.json#test', 'coco']]"])
    assert MetadataCatalog.get("typed_set").json_file == "psg.json"
    assert MetadataCatalog.get("typed_set").reader_options == {"split": "test"}


def test_nothing_is_registered_by_default():
    assert get_egtr_cfg().DATASETS.REGISTER == []


@pytest.mark.parametrize(
    "rows, message",
    [
        ([["bad", "coco_sgg", "a", "b"]], r"\['bad', .*no dataset format 'coco_sgg'. Did you mean 'coco_sg'\?"),
        ([["bad", 7, "a", "b"]], r"row \['bad', 7, .*write \[name, format, json_file, image_root\]"),
        ([["bad", "psg", "a#val", "b"]], r"row \['bad', .*: a: there is no split 'val'; take one of train, test"),
        ([["bad", "psg", "a"]], "write"),
        ([["bad", "psg", "a", "b", ["c"]]], "write"),
        ([["bad", "psg", "a", ""]], "write"),
        (["bad"], "row 'bad': write"),
        ([["bad", "psg", "a", "b", {"json_file": "c"}]], "'json_file' is no key that the fifth entry can set"),
        ([["bad", "psg", "a", "b", {"options": {}}]], "'options' is no key"),
        ([["bad", "psg", "a", "b", {"read": "c"}]], "'read' is no key"),
        ([["bad", "psg", "a", "b", {1: "c"}]], "1 is no key"),
        ([["bad", "psg", "a", "b", {"thing_classes": 5}]], "thing_classes is 5; give a list of names"),
        ([["bad", "psg", "a", "b", {"predicate_classes": "on"}]], "predicate_classes is 'on'; give a list of names"),
        ([["scenes_val", "psg", "a", "b"]], "'scenes_val' is the name of another dataset. Take another name"),
    ],
)
def test_bad_rows(rows, message, tmp_path):
    before = MetadataCatalog.get("scenes_val")
    with pytest.raises(EGTRError, match=f"DATASETS.REGISTER.*{message}"):
        _load(rows, tmp_path)
    assert "bad" not in DatasetCatalog and MetadataCatalog.get("scenes_val") is before


def test_a_row_that_contradicts_another(forget):
    rows = [["twice", "psg", "a", "b"], ["twice", "psg", "a", "c"]]
    with pytest.raises(EGTRError, match="'twice' is there twice with different contents"):
        register_rows(rows)
    register_rows([rows[1], rows[1]])
    assert MetadataCatalog.get("twice").image_root == "c"


def test_a_row_that_its_owner_changes_is_another_row(forget):
    row = ["changed", "psg", "a", "b", {"thing_classes": ["cup"]}]
    register_rows([row])
    row[4]["thing_classes"].append("table")
    assert MetadataCatalog.get("changed").thing_classes == ["cup"]
    register_rows([row])
    assert MetadataCatalog.get("changed").thing_classes == ["cup", "table"]


def test_a_row_that_names_no_format_leaves_the_old_one(forget):
    register_rows([["kept", "psg", "a", "b"]])
    with pytest.raises(EGTRError, match="no dataset format"):
        register_rows([["kept", "???", "a", "b"]])
    assert MetadataCatalog.get("kept").image_root == "b"


def test_a_fragment_is_no_part_of_an_existing_file_name(tmp_path):
    path = Path(WRITERS["psg"](tmp_path, SCENES))
    odd = path.rename(tmp_path / "a#b.json")
    assert len(FORMATS["psg"].read(str(odd), "images").images) == 2
    assert len(FORMATS["psg"].read(f"{odd}#train", "images").images) == 2
    assert len(FORMATS["psg"].read(f"{odd}#test", "images").images) == 0
