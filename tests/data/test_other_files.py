"""Files, names and sizes of images as other systems write them."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from egtr.data.annotated_image import BrokenImageError, read_annotated_image
from egtr.data.datasets import read_coco_sg
from egtr.data.image import load_image
from egtr.structures import DataError
from tests.data.raw_files import write_json
from tests.data.two_tables import coco_sg, report


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_of_json(tmp_path, encoding):
    path = tmp_path / "own.json"
    content = coco_sg()
    content["categories"][0]["name"] = "tasse à café"
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    annotations = read_coco_sg(str(path), "")
    assert annotations.thing_classes == ["tasse à café", "table"] and report(annotations)[:2] == (6, 4)


def test_another_encoding_has_its_remedy(tmp_path):
    path = tmp_path / "own.json"
    path.write_bytes('{"images": "café"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"own\.json: is not a JSON file in UTF-8 .*Save it as UTF-8"):
        read_coco_sg(str(path), "")


def test_backslashes(tmp_path):
    content = coco_sg()
    content["images"][0]["file_name"] = "images\\a.jpg"
    content["images"][1]["file_name"] = "..\\..\\media\\b.jpg"
    annotations = read_coco_sg(write_json(tmp_path / "own.json", content), str(tmp_path))
    assert [image.file_name for image in annotations.images] == ["images/a.jpg", "../../media/b.jpg"]
    assert [(p.kind, p.severity) for p in annotations.problems] == [("backslash", "warning")]
    assert ("error", "outside-folder") in report(annotations)[2]


@pytest.mark.parametrize("stored, given", [("NFD", "NFC"), ("NFC", "NFD")])
def test_letters_with_accents(tmp_path, stored, given):
    name = unicodedata.normalize(stored, "café.png")
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(tmp_path / name)
    record = {"file_name": str(tmp_path / unicodedata.normalize(given, "café.png"))}
    for read in (read_annotated_image, lambda record: load_image(record["file_name"])):
        assert read(record).tolist() == np.full((2, 3, 3), 7).tolist()


def test_names_in_another_case_are_hinted_at(tmp_path):
    (tmp_path / "DSC_1.JPG").touch()
    with pytest.raises(BrokenImageError, match="There is 'DSC_1.JPG': upper and lower case differ"):
        read_annotated_image({"file_name": str(tmp_path / "dsc_1.jpg")})


@pytest.mark.parametrize(("stored", "given", "reason"), [
    ("my photo.jpg", "my%20photo.jpg", "the name is written as in an address"),
    ("a.jpg", "a.jpg ", "blanks differ"),
    ("a.jpeg", "a.jpg", "the ending differs"),
])  # fmt: skip
def test_names_that_are_nearly_those_of_files_are_hinted_at(tmp_path, stored, given, reason):
    (tmp_path / stored).touch()
    with pytest.raises(BrokenImageError, match=f"There is '{stored}': {reason}. Write the name"):
        read_annotated_image({"file_name": str(tmp_path / given)})


def test_what_is_no_image_is_no_hint(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(BrokenImageError, match="there is no such file. Copy it there"):
        read_annotated_image({"file_name": str(tmp_path / "a.jpg")})


def test_sizes_before_exif_turns_the_image(tmp_path):
    image = Image.new("RGB", (64, 48))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "lying.jpg", exif=exif)
    image.save(tmp_path / "plain.jpg")
    for name, (height, width), words in (
        ("lying.jpg", (48, 64), "the file stores the image lying, and its EXIF orientation, 6, turns it"),
        ("plain.jpg", (64, 48), "The two are swapped: was the image turned after it was annotated"),
        ("plain.jpg", (48, 63), "belong to another copy of it"),
    ):
        with pytest.raises(BrokenImageError, match=words):
            read_annotated_image({"file_name": str(tmp_path / name), "height": height, "width": width})
    upright = read_annotated_image({"file_name": str(tmp_path / "lying.jpg"), "height": 64, "width": 48})
    assert upright.shape == (64, 48, 3)
