"""Annotations as other programs write them: read as they are meant, or named by a problem of its own kind."""

import pytest

from egtr.data.convert import read_splits
from egtr.data.datasets import FORMATS, read_coco_sg, read_egtr_json, read_psg, read_vg_h5
from egtr.data.datasets.annotations import leave_out_unsound
from egtr.data.datasets.vg_h5_writer import write_vg_h5
from egtr.structures import DataError
from tests.data.raw_files import write_json
from tests.data.two_tables import BOXES, coco_sg, psg, report


@pytest.fixture
def read(tmp_path):
    def read(content):
        return read_coco_sg(write_json(tmp_path / "own.json", content), str(tmp_path))

    return read


def test_the_sound_file(read):
    assert report(read(coco_sg())) == (6, 4, {})


@pytest.mark.parametrize("value", ["0", "false", 0, 0.0, False, None, ""])
def test_no_crowd(read, value):
    content = coco_sg()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = value
    assert report(read(content)) == (6, 4, {})


@pytest.mark.parametrize("value", ["1", "true", 1, 1.0, True])
def test_crowds_are_counted_with_their_relations(read, value):
    content = coco_sg()
    content["annotations"][0]["iscrowd"] = value
    objects, relations, kinds = report(read(content))
    assert (objects, relations) == (5, 3)
    (message,) = kinds.values()
    assert list(kinds) == [("warning", "crowd")] and "1 annotations are crowds" in message and "with 1 of" in message


@pytest.mark.parametrize("value", ["maybe", 2, float("nan"), [], {}])
def test_what_is_no_crowd_flag(read, value):
    content = coco_sg()
    content["annotations"][1]["iscrowd"] = value
    (problem,) = read(content).problems
    assert (problem.kind, problem.severity, problem.image_id) == ("bad-crowd", "error", 1)
    assert 'annotation id 12, field "iscrowd": expected 0 or 1' in problem.message


def test_a_dataset_with_relations_that_ends_with_none(tmp_path, read):
    """Both tables are crowds, as CVAT writes masks, and each relation joins one of them."""
    content = coco_sg()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 2)
    objects, relations, kinds = report(read(content))
    assert (objects, relations) == (4, 0)
    assert "2 annotations are crowds" in kinds["warning", "crowd"] and "4 of the" in kinds["warning", "crowd"]
    assert "none of the 4 relations is left: 4 join crowds" in kinds["error", "no-relations-left"]


def test_loading_by_name_refuses_it(tmp_path, registered):
    content = coco_sg()
    content["annotations"] = [a | {"iscrowd": int(a["category_id"] == 2)} for a in content["annotations"]]
    name = registered(write_json(tmp_path / "own.json", content))
    with pytest.raises(DataError, match="none of the 4 relations is left"):
        registered.get(name)


@pytest.fixture
def registered(tmp_path):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    class Registered:
        get = staticmethod(DatasetCatalog.get)

        def __call__(self, path):
            FORMATS["coco_sg"].register("other_programs", path, str(tmp_path))
            return "other_programs"

    yield Registered()
    DatasetCatalog.remove("other_programs")
    MetadataCatalog.remove("other_programs")


def test_what_concerns_the_whole_file_is_logged_on_loading(tmp_path, registered, caplog):
    content = coco_sg()
    content["annotations"][0]["iscrowd"] = 1
    records = registered.get(registered(write_json(tmp_path / "own.json", content)))
    assert [len(record["relations"]) for record in records] == [1, 2]
    assert "1 annotations are crowds (iscrowd 1), and training leaves them out with 1 of the relations" in caplog.text


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("rel_annotations", ["image_id"]),
        ("rel_annotations", ["subject_id", "object_id"]),
        ("rel_annotations", ["predicate_id"]),
        ("annotations", ["image_id"]),
        ("annotations", ["category_id"]),
        ("annotations", ["id"]),
        ("images", ["id"]),
    ],
)
def test_ids_as_text_where_the_file_has_numbers(read, table, fields):
    content = coco_sg()
    for record in content[table]:
        record.update({field: str(record[field]) for field in fields})
    objects, relations, kinds = report(read(content))
    assert (objects, relations) == (6, 4)
    assert set(kinds) == {("warning", "id-type")}


def test_a_number_and_a_text_that_are_both_ids_stay_apart(read):
    content = coco_sg()
    content["images"][1]["id"] = "1"
    for table in ("annotations", "rel_annotations"):
        for record in content[table]:
            record["image_id"] = 1 if record["image_id"] == 1 else "1"
    annotations = read(content)
    assert [len(image.boxes) for image in annotations.images] == [3, 3] and annotations.problems == []
    assert [image.relations.tolist() for image in annotations.images] == [[[0, 1, 0], [2, 1, 1]]] * 2


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("images", ["id", "height", "width"]),
        ("annotations", ["id", "image_id", "category_id"]),
        ("categories", ["id"]),
        ("rel_categories", ["id"]),
        ("rel_annotations", ["id", "image_id", "subject_id", "object_id", "predicate_id"]),
    ],
)
def test_whole_numbers_with_a_point(read, table, fields):
    """pandas writes a column of integers with gaps as 1.0, 2.0."""
    content = coco_sg()
    for record in content[table]:
        record.update({field: float(record[field]) for field in fields})
    annotations = read(content)
    assert report(annotations) == (6, 4, {})
    assert [type(image.image_id) for image in annotations.images] == [int, int]


def test_whole_numbers_with_a_point_in_rows(tmp_path):
    content = psg(0.0, BOXES[:2])
    content["data"][0]["annotations"][1]["category_id"] = 1.0
    content["data"][0]["relations"] = [[0.0, 1.0, 0.0]]
    (image,) = read_psg(write_json(tmp_path / "psg.json", content), "").images
    assert image.classes.tolist() == [0, 1] and image.relations.tolist() == [[0, 1, 0]]
    for row in ([0.5, 1, 0], [float("nan"), 1, 0], [1e300, 1, 0]):
        content["data"][0]["relations"] = [row]
        (problem,) = read_psg(write_json(tmp_path / "psg.json", content), "").problems
        assert problem.kind == "bad-relations"


@pytest.mark.parametrize("value", [1.5, float("nan"), 1e300])
def test_no_whole_number_is_no_id(read, value):
    content = coco_sg()
    content["annotations"][0]["image_id"] = value
    assert "bad-annotation" in {problem.kind for problem in read(content).problems}


@pytest.mark.parametrize("table", ["annotations", "rel_annotations"])
def test_entries_that_all_belong_to_other_images_are_an_error(read, table):
    content = coco_sg()
    for record in content[table]:
        record["image_id"] += 100
    problem = next(problem for problem in read(content).problems if problem.kind == "unlisted-image")
    assert problem.severity == "error" and "2 images" in problem.message and "are left" in problem.message


def test_broken_entries_whose_image_id_is_a_text_belong_to_the_image(read):
    content = coco_sg()
    for annotation in content["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    content["annotations"][0]["bbox"] = None
    annotations, left_out = leave_out_unsound(read(content))
    assert [image.image_id for image in annotations.images] == [2]
    assert [problem.image_id for problem in left_out] == [1]


def test_rel_json_without_a_background(tmp_path):
    content = coco_sg()
    write_json(tmp_path / "train.json", content)
    for names in (["on", "near"], []):
        write_json(tmp_path / "rel.json", {"train": {"1": [[0, 1, 1]]}, "rel_categories": names})
        with pytest.raises(
            DataError, match=r'rel\.json: field "rel_categories" begins with .*Put "__background__" first'
        ):
            read_egtr_json(str(tmp_path / "train.json"), "")
    for name in ("__background__", "background", "BG", "no relation"):
        write_json(tmp_path / "rel.json", {"train": {"1": [[0, 1, 1]]}, "rel_categories": [name, "on", "near"]})
        annotations = read_egtr_json(str(tmp_path / "train.json"), "")
        assert annotations.predicate_classes == ["on", "near"]
        assert annotations.images[0].relations.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("field", "what"), [("categories", "classes"), ("rel_categories", "predicates")]
)  # fmt: skip
def test_equal_names(tmp_path, read, field, what):
    content = coco_sg()
    content[field].append({"id": 9, "name": content[field][0]["name"]})
    for image in content["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    annotations = read(content)
    _, _, kinds = report(annotations)
    assert f"1 names of {what} are there more than once" in kinds["warning", "repeated-name"]
    with pytest.raises(DataError, match=f"1 names of {what} are there more than once"):
        write_vg_h5({"train": annotations}, tmp_path)
    # A blank or a capital letter makes another name, which an h5 file can hold.
    content[field][-1]["name"] = content[field][0]["name"].upper() + " "
    annotations = read(content)
    assert ("warning", "repeated-name") in report(annotations)[2]
    write_vg_h5({"train": annotations}, tmp_path)


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg", "shelf/../a.jpg"])
def test_one_image_under_two_ids(name, read):
    content = coco_sg()
    content["images"][1]["file_name"] = name
    _, _, kinds = report(read(content))
    assert list(kinds) == [("warning", "repeated-file")]
    assert (
        "1 image files are there under several ids, such as 'a.jpg' under [1, 2]" in kinds["warning", "repeated-file"]
    )


def test_one_image_in_two_splits(tmp_path, caplog):
    paths = {split: write_json(tmp_path / f"{split}.json", coco_sg()) for split in ("train", "val")}
    read_splits("coco_sg", paths)
    assert "2 images are in" in caplog.text and "'a.jpg'" in caplog.text


def test_image_ids_beyond_64_bits(read):
    content = coco_sg()
    wide = {1: 20260115093000123456, 2: 2**63 - 1}
    for table, field in (("images", "id"), ("annotations", "image_id"), ("rel_annotations", "image_id")):
        for record in content[table]:
            record[field] = wide[record[field]]
    _, _, kinds = report(read(content))
    assert "1 image ids, such as 20260115093000123456, are beyond 64 bits" in kinds["error", "wide-image-id"]
    # Ids of annotations may be as large.
    content = coco_sg()
    for table, fields in (("annotations", ["id"]), ("rel_annotations", ["subject_id", "object_id"])):
        for record in content[table]:
            record.update({field: record[field] + 2**65 for field in fields})
    assert report(read(content)) == (6, 4, {})


def test_vg_h5_that_marks_val_by_1(tmp_path):
    import h5py

    content = coco_sg()
    content["images"].append(content["images"][0] | {"id": 3})
    content["annotations"] += [a | {"id": a["id"] + 20, "image_id": 3} for a in content["annotations"][:3]]
    content["rel_annotations"] += [
        r | {"id": r["id"] + 20, "image_id": 3, "subject_id": r["subject_id"] + 20, "object_id": 32}
        for r in content["rel_annotations"][:2]
    ]
    for image in content["images"]:
        image["file_name"] = f"{image['id']}.jpg"
    annotations = read_coco_sg(write_json(tmp_path / "own.json", content), "")
    h5_file, *_ = write_vg_h5({"train": annotations}, tmp_path)
    with h5py.File(h5_file, "a") as file:
        file["split"][:] = [0, 1, 2]
        file.attrs["num_val"] = 5000
    for split, image_id in (("train", 1), ("val", 2), ("test", 3)):
        (image,) = read_vg_h5(h5_file, "", split=split).images
        assert image.image_id == image_id and image.relations.tolist() == [[0, 1, 0], [2, 1, 1]]
