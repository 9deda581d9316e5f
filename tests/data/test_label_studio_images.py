"""Tasks of Label Studio that show several images, and names that other systems store otherwise."""

import unicodedata

import pytest

from egtr.data.datasets.annotations import ERROR, WARNING
from tests.data.test_label_studio import box, kinds, relation, task


def two_images(first="image", second="image2", **data):
    entry = task(1, box("a", "cup", to_name=first), box("b", "table", to_name=second), relation("a", "b", "on"))
    entry["data"] |= {"image2": "/data/upload/1/0f6142fc-right.jpg"} | data
    return entry


def test_a_region_of_a_second_image_tag_is_no_region_of_the_first(read_tasks):
    annotations = read_tasks(two_images())
    assert kinds(annotations, ERROR) == ["other-image", "missing-object"]
    assert "region b is on the image 'image2', and only 'image' is read" in annotations.problems[0].message
    assert len(annotations.images[0].boxes) == 1
    # Left out by request, but not down to a dataset without relations.
    lenient = read_tasks(two_images(), drop_unlabelled=True)
    assert kinds(lenient, WARNING) == ["other-image", "missing-object"]
    assert kinds(lenient, ERROR) == ["no-relations-left"]


def test_all_regions_on_the_second_image(read_tasks):
    assert kinds(read_tasks(two_images("image2", "image2")), ERROR)[:2] == ["other-image"] * 2


def test_tags_of_which_none_is_a_field_of_the_task(read_tasks):
    annotations = read_tasks(two_images("left", "right"))
    assert kinds(annotations, ERROR) == ["several-images"] and annotations.images == []
    assert "its regions are on ['left', 'right']" in annotations.problems[0].message


def test_one_tag_of_any_name_is_the_image(read_tasks):
    annotations = read_tasks(task(1, box("a", "cup", to_name="photo"), box("b", "table", to_name="photo")))
    assert annotations.problems == [] and len(annotations.images[0].boxes) == 2


def test_a_region_on_another_page(read_tasks):
    pages = box("a", "cup", item_index=0), box("b", "table", item_index=1)
    annotations = read_tasks(task(1, *pages, relation("a", "b", "on")))
    assert kinds(annotations, ERROR) == ["other-image", "missing-object"]
    assert "region b is on page 1" in annotations.problems[0].message


@pytest.mark.parametrize("first", [True, False])
def test_the_class_is_the_label_of_the_rectangle(read_tasks, first):
    rectangle, attribute = box("a", "cup"), box("a", [], type="labels", from_name="colour")
    del attribute["value"]["rectanglelabels"]
    attribute["value"]["labels"] = ["blue"]
    entries = (attribute, rectangle) if first else (rectangle, attribute)
    annotations = read_tasks(task(1, *entries))
    assert annotations.thing_classes == ["cup"] and annotations.images[0].classes.tolist() == [0]


@pytest.mark.parametrize(("stored", "given"), [("NFD", "NFC"), ("NFC", "NFD")])
@pytest.mark.parametrize("folder", ["", "été/"])
def test_letters_with_accents(read_tasks, tmp_path, stored, given, folder):
    name = unicodedata.normalize(stored, f"{folder}café.jpg")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    exported = unicodedata.normalize(given, f"{folder}café.jpg")
    reference = f"/data/local-files/?d={exported}" if folder else f"/data/upload/1/0f6142fb-{exported}"
    annotations = read_tasks(task(1, box("a", "cup"), image=reference), image_root=tmp_path)
    assert annotations.problems == [] and annotations.images[0].file_name == name


def test_a_local_file_whose_folder_is_missing(read_tasks, tmp_path):
    root = tmp_path / "photos"
    (root / "day1").mkdir(parents=True)
    for name in ("x.jpg", "day1/x.jpg"):
        (root / name).touch()

    def found(path):
        annotations = read_tasks(task(1, box("a", "cup"), image=f"/data/local-files/?d={path}"), image_root=root)
        return annotations.images[0].file_name, kinds(annotations, WARNING)

    assert found("cams/day1/x.jpg") == ("day1/x.jpg", [])
    assert found("x.jpg") == ("x.jpg", [])
    # The folder that was given is the one in the path.
    assert found("cams/photos/x.jpg") == ("x.jpg", [])
    assert found("cams/day3/x.jpg") == ("x.jpg", ["guessed-image"])


def test_an_address_means_the_file_with_most_of_its_folders(read_tasks, tmp_path):
    (tmp_path / "day1").mkdir()
    for name in ("x.jpg", "day1/x.jpg"):
        (tmp_path / name).touch()
    annotations = read_tasks(task(1, box("a", "cup"), image="s3://bucket/day1/x.jpg"), image_root=tmp_path)
    assert annotations.images[0].file_name == "day1/x.jpg"


def test_an_image_that_was_uploaded_twice(read_tasks, tmp_path):
    (tmp_path / "photo.jpg").touch()
    tasks = task(1, box("a", "cup")), task(2, box("a", "cup"))
    (message,) = (problem.message for problem in read_tasks(*tasks, image_root=tmp_path).problems)
    assert message.endswith("2 tasks, [1, 2], mean the image photo.jpg; delete all but one of them in Label Studio")
    (message,) = (problem.message for problem in read_tasks(*tasks).problems)
    assert message.endswith("or give --image-root if they are different images of one name")
