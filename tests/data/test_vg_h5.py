import json
import os
import shutil

import h5py
import numpy as np
import pytest

from egtr.data.datasets import read_vg_h5, register_vg_h5, to_dataset_dicts
from egtr.data.datasets.vg_h5 import CORRUPT_IMAGES
from egtr.structures import EGTRError
from tests.data.raw_files import CLASSES, PREDICATES, write_json, write_vg_h5

BOX = (0, 0, 20, 20, 0, False)


def _scene(image_id, num_objects=2, related=True):
    return {"id": image_id, "objects": [BOX] * num_objects, "relations": [(0, 1, 0)] if related else []}


def _change(path, **arrays):
    """Replace arrays of an HDF5 file; None takes one out."""
    with h5py.File(path, "r+") as file:
        for name, array in arrays.items():
            del file[name]
            if array is not None:
                file[name] = array


def _ids(path, split=None, **options):
    return [image.image_id for image in read_vg_h5(path, "images", split=split, **options).images]


def test_objects_and_relations_by_hand(tmp_path):
    """Two images; the second, 500 wide and 250 high, has the boxes 1 and 2 of the file and its relation 1."""
    write_json(
        tmp_path / "VG-SGG-dicts-with-attri.json",
        {
            "idx_to_label": {"2": "dog", "1": "cat"},
            "idx_to_predicate": {"1": "near"},
            "label_to_idx": {"cat": 1},
        },
    )
    write_json(
        tmp_path / "image_data.json",
        [
            {"image_id": 31, "height": 1024, "width": 768, "url": "https://example.org/VG_100K_2/31.jpg"},
            {"image_id": 8, "height": 250, "width": 500, "url": "https://example.org/VG_100K/8.jpg"},
        ],
    )
    path = tmp_path / "VG-SGG-with-attri.h5"
    with h5py.File(path, "w") as file:
        file["split"] = np.array([0, 2])
        # Centre x, centre y, width, height.
        file["boxes_1024"] = np.array([[100, 200, 50, 100], [512, 256, 1024, 512], [128, 64, 21, 64]])
        file["labels"] = np.array([[1], [2], [1]])
        file["relationships"] = np.array([[0, 0], [2, 1]])
        file["predicates"] = np.array([[1], [1]])
        file["attributes"] = np.zeros((3, 10))
        for what in ("box", "rel"):
            file[f"img_to_first_{what}"] = np.array([0, 1])
        file["img_to_last_box"], file["img_to_last_rel"] = np.array([0, 2]), np.array([0, 1])
    annotations = read_vg_h5(str(path), "images", num_val=0)
    assert annotations.thing_classes == ["cat", "dog"] and annotations.predicate_classes == ["near"]
    first, second = annotations.images
    # The long side is 1024, so nothing is scaled: 100 - 25, 200 - 50, 100 + 25, 200 + 50.
    assert first.boxes.tolist() == [[75, 150, 125, 250]]
    assert (first.file_name, first.height, first.width) == ("31.jpg", 1024, 768)
    assert first.relations.tolist() == [[0, 0, 0]]
    # Scaled by 500 / 1024: the whole image, and (117.5, 32, 138.5, 96) / 2.048.
    expected = [[0, 0, 500, 250], [117.5 / 2.048, 15.625, 138.5 / 2.048, 46.875]]
    np.testing.assert_allclose(second.boxes, expected, rtol=1e-12)
    assert second.classes.tolist() == [1, 0]
    # Box 2 of the file is the second of this image.
    assert second.relations.tolist() == [[1, 0, 0]]
    assert [image.image_id for image in read_vg_h5(f"{path}#test", "images").images] == [8]


def test_splits(tmp_path):
    """Val are the first images of train that have relations; train has the rest, and no empty image counts."""
    scenes = [
        _scene(10, related=False),
        _scene(11),
        _scene(12),
        _scene(13, num_objects=0, related=False),
        _scene(14),
        _scene(15),
        _scene(16, related=False),
    ]
    path = write_vg_h5(tmp_path, scenes, splits=[0, 2, 0, 0, 0, 0, 2])
    assert _ids(path, "val", num_val=2) == [12, 14]
    assert _ids(path, "train", num_val=2) == [15]
    assert _ids(path, "test", num_val=2) == [11]
    assert _ids(path, num_val=2) == [11, 12, 14, 15]
    everything = {"num_val": 2, "filter_empty_rels": False}
    assert _ids(path, "val", **everything) == [12, 14]
    assert _ids(path, "train", **everything) == [10, 13, 15]
    assert _ids(path, "test", **everything) == [11, 16]
    assert _ids(path, **everything) == [10, 11, 12, 13, 14, 15, 16]
    # Of 5,000 val images, which is what papers take, there are only three here.
    assert _ids(path, "val") == [12, 14, 15] and _ids(path, "train") == []
    with pytest.raises(EGTRError, match="num_val is -1; give the number of val images"):
        _ids(path, num_val=-1)
    with pytest.raises(EGTRError, match="there is no split 'valid'; take one of train, val, test"):
        _ids(f"{path}#valid")
    with pytest.raises(EGTRError, match="there is no split 'valid'"):
        register_vg_h5("never_registered", path, "images", split="valid")


def test_corrupt_images_are_left_out_where_the_list_has_them(tmp_path):
    path = write_vg_h5(tmp_path, [_scene(1591), _scene(1593), _scene(4618)])
    kept = json.loads((tmp_path / "image_data.json").read_text())
    assert _ids(path, num_val=0) == [1591, 1593, 4618]
    corrupt = [{"image_id": image_id, "height": 5, "width": 5} for image_id in CORRUPT_IMAGES]
    write_json(tmp_path / "image_data.json", [kept[0], *corrupt[:2], kept[1], *corrupt[2:], kept[2]])
    assert _ids(path, num_val=0) == [1591, 1593, 4618]
    write_json(tmp_path / "image_data.json", [*kept[:2], *corrupt])
    with pytest.raises(EGTRError, match=r"image_data\.json: lists 6 images, 2 without the four .*SGG\.h5 has 3"):
        _ids(path)
    # In data of one's own these are ids like any others.
    own = tmp_path / "own"
    assert _ids(write_vg_h5(own, [_scene(1592), _scene(1)]), num_val=0) == [1592, 1]


def test_images_in_one_folder_or_as_downloaded(tmp_path):
    path = write_vg_h5(tmp_path, [_scene(1), _scene(2), _scene(3)])
    names = [image.file_name for image in read_vg_h5(path, str(tmp_path / "images")).images]
    assert names == ["1.jpg", "2.jpg", "3.jpg"]
    for folder, name in (("VG_100K", "1.jpg"), ("VG_100K_2", "2.jpg")):
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / name).touch()
    names = [image.file_name for image in read_vg_h5(path, str(tmp_path / "images")).images]
    assert names == ["VG_100K/1.jpg", "VG_100K_2/2.jpg", "3.jpg"]


def test_names_of_the_files_beside(tmp_path):
    path = write_vg_h5(tmp_path, [_scene(1)])
    options = {}
    for option, name in (("dicts_file", "VG-SGG-dicts.json"), ("image_data_file", "image_data.json")):
        moved = str((tmp_path / name).rename(tmp_path / f"{option}.json"))
        with pytest.raises(EGTRError, match=f"{name}: cannot be read"):
            read_vg_h5(path, "images", **options)
        options[option] = moved
    annotations = read_vg_h5(path, "images", **options)
    assert tuple(annotations.thing_classes) == CLASSES and tuple(annotations.predicate_classes) == PREDICATES


@pytest.mark.parametrize(
    "arrays, words",
    [
        (
            {"labels": [[1], [0], [1], [1]]},
            "image id 1, annotation 1: there is no class 0; classes are numbered 1..6",
        ),
        ({"labels": [[1], [1], [1], [7]]}, "image id 2, annotation 1: there is no class 7"),
        ({"predicates": [[1], [4]]}, "image id 2, relation 0 = [0, 1, 4]: predicates are numbered 1..3"),
        ({"predicates": [[0], [1]]}, "image id 1, relation 0 = [0, 1, 0]"),
        # The second image's relation names box 1 of the file, which is the first image's.
        ({"relationships": [[0, 1], [2, 1]]}, "image id 2, relation 0 = [0, -1, 1]: object -1 is not among"),
        ({"relationships": [[0, 2], [2, 3]]}, "image id 1, relation 0 = [0, 2, 1]: object 2 is not among"),
        ({"img_to_last_box": [1, 4]}, "image id 2, img_to_first_box and img_to_last_box at 1 do not name rows"),
        ({"img_to_last_rel": [-1, 1]}, "image id 1, img_to_first_rel and img_to_last_rel at 0"),
        ({"boxes_1024": np.full((4, 4), np.nan)}, "image id 1, annotation 0: the box is not four finite numbers"),
    ],
)
def test_malformed_entries(tmp_path, arrays, words):
    path = write_vg_h5(tmp_path, [_scene(1), _scene(2)])
    _change(path, **{name: np.array(array) for name, array in arrays.items()})
    with pytest.raises(EGTRError) as error:
        to_dataset_dicts(read_vg_h5(path, "images", num_val=0))
    assert str(error.value).startswith(f"{path}: image id ") and words in str(error.value)


@pytest.mark.parametrize(
    "record, words",
    [
        ({"height": 5, "width": 5}, 'image_data.json: entry 1: field "image_id" is missing or not an id'),
        (None, "image_data.json: entry 1"),
        ({"image_id": 2, "height": 5}, 'image_data.json: image id 2, field "width" is missing or no size: None'),
    ],
)
def test_malformed_image_data(tmp_path, record, words):
    path = write_vg_h5(tmp_path, [_scene(1), _scene(2)])
    good = json.loads((tmp_path / "image_data.json").read_text())[0]
    write_json(tmp_path / "image_data.json", [good, record])
    annotations = read_vg_h5(path, "images", num_val=0)
    (problem,) = annotations.find_problems()
    assert words in problem.message
    assert annotations.is_sound(annotations.images[0])


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"boxes_1024": None, "split": None}, r"VG-SGG\.h5: lacks split, boxes_1024\. egtr/data/datasets/vg_h5\.py"),
        (
            {"labels": np.array([1, 1, 1, 1])},
            r"labels holds int64 of shape \(4,\), expected numbers of shape \(4, 1\)",
        ),
        ({"boxes_1024": np.zeros((3, 4))}, r"boxes_1024 .* \(3, 4\), expected numbers of shape \(4, 4\)"),
        ({"relationships": np.zeros((2, 3), int)}, r"relationships .* expected numbers of shape \(2, 2\)"),
        ({"img_to_first_rel": np.zeros(1, int)}, r"img_to_first_rel .* expected numbers of shape \(2,\)"),
        ({"predicates": np.array([[b"a"], [b"b"]])}, r"SGG\.h5: predicates holds .S1"),
        ({"split": np.array([0, 3])}, r"split holds 3; expected 0 \(train, or train and val\), 1 \(val\) and 2"),
        ({"labels": np.full((4, 1), np.nan)}, "labels holds float64"),
        ({"split": np.int64(3)}, "split holds int64 of shape"),
    ],
)
def test_a_file_without_its_frame_is_refused(tmp_path, arrays, words):
    path = write_vg_h5(tmp_path, [_scene(1), _scene(2)])
    _change(path, **arrays)
    with pytest.raises(EGTRError, match=words):
        read_vg_h5(path, "images")


def test_a_file_cut_short_and_a_missing_one(tmp_path):
    path = tmp_path / "VG-SGG.h5"
    write_vg_h5(tmp_path, [_scene(1)])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EGTRError, match=r"SGG\.h5: cannot be read as an HDF5 file .*truncated.*cut short"):
        read_vg_h5(str(path), "images")
    path.unlink()
    with pytest.raises(EGTRError, match=r"SGG\.h5: cannot be read as an HDF5 file .*No such file"):
        read_vg_h5(str(path), "images")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"idx_to_label": ["cat"]}, 'field "idx_to_label" is missing or not of type dict'),
        ({"idx_to_label": {"1": "cat", "3": "dog"}}, r'field "idx_to_label" must map "1" to "2" to names'),
        ({"idx_to_predicate": {"1": 5}}, 'field "idx_to_predicate" must map'),
    ],
)
def test_bad_dicts(tmp_path, changes, words):
    path = write_vg_h5(tmp_path, [_scene(1)])
    content = json.loads((tmp_path / "VG-SGG-dicts.json").read_text())
    write_json(tmp_path / "VG-SGG-dicts.json", content | changes)
    with pytest.raises(EGTRError, match=rf"VG-SGG-dicts\.json: {words}"):
        read_vg_h5(path, "images")


def test_a_named_background_is_no_class(tmp_path):
    path = write_vg_h5(tmp_path, [_scene(1)])
    content = json.loads((tmp_path / "VG-SGG-dicts.json").read_text())
    content["idx_to_label"]["0"] = "__background__"
    write_json(tmp_path / "VG-SGG-dicts.json", content)
    assert tuple(read_vg_h5(path, "images").thing_classes) == CLASSES


def _read_elsewhere(file, name, path, how):
    """Let array ``name`` of an open HDF5 file lie in the file ``path``, which holds it, too."""
    shape, dtype = file[name].shape, file[name].dtype
    content = file[name][()]
    del file[name]
    if how == "external link":
        file[name] = h5py.ExternalLink(str(path), name)
    elif how == "soft link":
        # To a group that is a link itself: no name of it leaves the file.
        file["group"] = h5py.ExternalLink(str(path), "/")
        file[name] = h5py.SoftLink(f"/group/{name}")
    elif how == "external storage":
        raw = path.with_suffix(".raw")
        raw.write_bytes(content.tobytes())
        file.create_dataset(name, shape, dtype, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    else:
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(path), name, shape)
        file.create_virtual_dataset(name, layout)
    # A reader that does not look reads it all the same.
    np.testing.assert_array_equal(file[name][()], content)


@pytest.mark.parametrize("name", ["split", "relationships"])
@pytest.mark.parametrize("how", ["external link", "soft link", "external storage", "virtual array"])
def test_an_array_that_lies_in_another_file_is_refused(tmp_path, name, how):
    path = write_vg_h5(tmp_path, [_scene(1), _scene(2)])
    other = shutil.copy(path, tmp_path / "other.h5")
    assert _ids(path, num_val=0) == [1, 2]
    with h5py.File(path, "r+") as file:
        _read_elsewhere(file, name, other, how)
    with pytest.raises(EGTRError, match=rf"SGG\.h5: {name} lies in another file, which is refused\. Write the array"):
        _ids(path, num_val=0)


def test_an_array_of_absurd_size_is_refused(tmp_path):
    """A terabyte of zeros that were never written takes a few bytes."""
    path = write_vg_h5(tmp_path, [_scene(1)])
    with h5py.File(path, "r+") as file:
        del file["boxes_1024"]
        file.create_dataset("boxes_1024", (2**35, 4), "f8", chunks=(1024, 4))
    assert os.path.getsize(path) < 100_000
    with pytest.raises(EGTRError, match=r"SGG\.h5: boxes_1024 would take 1,099,511,627,776 bytes, which is refused"):
        _ids(path)
