import copy

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from fvcore.transforms.transform import CropTransform, HFlipTransform, VFlipTransform
from hypothesis import strategies as st
from PIL import Image

from egtr.config.defaults import get_egtr_cfg
from egtr.data import SceneGraphMapper
from egtr.data.mapper import flip_table
from egtr.structures import EGTRError
from tests.data.exact_transforms import follow_box
from tests.properties import check, few_or_many

GRID, CELL = 3, 32
SIDE = GRID * CELL
# Colours at the corners and edge centres of the RGB cube, so that a blend by resizing is still told apart.
COLOURS = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)] + [[128, 255, 128]], np.uint8)


@st.composite
def scenes(draw):
    """Objects in the cells of a 3 x 3 grid, the object's cell being its class; some are crowds or empty."""
    annotations = []
    for cell in draw(st.permutations(range(GRID * GRID)))[: draw(st.integers(0, GRID * GRID))]:
        x, y = (cell % GRID) * CELL + draw(st.integers(0, 12)), (cell // GRID) * CELL + draw(st.integers(0, 12))
        w, h = draw(st.integers(0, 20)), draw(st.integers(1, 20))
        xywh = draw(st.booleans())
        annotations.append(
            {
                "bbox": [x, y, w, h] if xywh else [x, y, x + w, y + h],
                "bbox_mode": BoxMode.XYWH_ABS if xywh else BoxMode.XYXY_ABS,
                "category_id": cell,
                "iscrowd": int(draw(st.integers(0, 5)) == 0),
            }
        )
    indices = st.integers(0, max(len(annotations) - 1, 0))
    triplets = st.tuples(indices, indices, st.integers(0, 4)).map(list)
    relations = draw(st.lists(triplets, max_size=12)) if annotations else []
    return annotations, relations


@st.composite
def transform_lists(draw):
    """Flips and crops at will and up to two resizes, each fitting the size that the ones before leave."""
    height = width = SIDE
    steps, resizes = [], 0
    for kind in draw(st.lists(st.sampled_from(["hflip", "vflip", "crop", "resize"]), max_size=5)):
        if kind == "crop":
            w, h = draw(st.integers(1, width)), draw(st.integers(1, height))
            x, y = draw(st.integers(0, width - w)), draw(st.integers(0, height - h))
            steps.append(("crop", x, y, w, h))
            height, width = h, w
        elif kind == "resize" and resizes < 2:
            h, w = draw(st.integers(height, 2 * height)), draw(st.integers(width, 2 * width))
            steps.append(("resize", height, width, h, w))
            height, width, resizes = h, w, resizes + 1
        elif kind in ("hflip", "vflip"):
            steps.append((kind, width if kind == "hflip" else height))
    return steps, (height, width)


def _transforms(steps):
    kinds = {"crop": CropTransform, "resize": T.ResizeTransform, "hflip": HFlipTransform, "vflip": VFlipTransform}
    return [kinds[kind](*arguments) for kind, *arguments in steps]


# Detectron2's resize returns read-only memory, which a flip after it (the recipes flip first) hands to torch.
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@few_or_many(40, 150)
def test_every_relation_still_joins_the_same_two_objects(tmp_path, examples):
    def holds(scene, transforms):
        assert_relations_join_the_same_objects(tmp_path, scene, transforms)

    check(examples, holds, scene=scenes(), transforms=transform_lists())


def assert_relations_join_the_same_objects(folder, scene, transforms):
    annotations, relations = scene
    steps, size = transforms
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
    for annotation, (x0, y0, x1, y1) in zip(annotations, boxes, strict=True):
        pixels[y0:y1, x0:x1] = COLOURS[annotation["category_id"]]
    file_name = folder / "scene.png"
    cv2.imwrite(str(file_name), pixels[:, :, ::-1])
    record = {
        "file_name": str(file_name),
        "image_id": 1,
        "height": SIDE,
        "width": SIDE,
        "annotations": annotations,
        "relations": relations,
    }
    original = copy.deepcopy(record)

    mapped = SceneGraphMapper(True, augmentations=_transforms(steps))(record)

    assert record == original
    instances = mapped["instances"]
    assert mapped["image"].shape == (3, *size) and instances.image_size == size
    assert (mapped["height"], mapped["width"]) == (SIDE, SIDE)

    # The steps decide which objects are left, and where. Classes are unique, so they name the object.
    expected = {}
    for annotation, box in zip(annotations, boxes, strict=True):
        moved = follow_box(box, _transforms(steps), (SIDE, SIDE))
        if moved is not None and not annotation["iscrowd"]:
            expected[annotation["category_id"]] = [float(value) for value in moved]
    classes = instances.gt_classes.tolist()
    assert classes == list(expected)
    np.testing.assert_allclose(
        instances.gt_boxes.tensor.numpy(), np.array(list(expected.values())).reshape(-1, 4), atol=1e-3
    )

    # Each relation, written by classes, is there once and in the same order if both its ends are left.
    named = [(annotations[s]["category_id"], annotations[o]["category_id"], p) for s, o, p in relations]
    surviving = [row for row in dict.fromkeys(named) if row[0] in expected and row[1] in expected]
    assert mapped["relations"].shape == (len(surviving), 3) and mapped["relations"].dtype == torch.int64
    assert [(classes[s], classes[o], p) for s, o, p in mapped["relations"].tolist()] == surviving

    # The image moved along: the middle of a box shows its object's colour.
    for (x0, y0, x1, y1), label in zip(instances.gt_boxes.tensor.tolist(), classes, strict=True):
        if x1 - x0 >= 8 and y1 - y0 >= 8:
            shown = mapped["image"][:, int((y0 + y1) / 2), int((x0 + x1) / 2)].numpy().astype(int)
            assert np.abs(COLOURS.astype(int) - shown).sum(axis=1).argmin() == label


def _record(tmp_path, pixels=None, **more):
    if pixels is None:
        pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    file_name = tmp_path / "image.png"
    Image.fromarray(pixels).save(file_name)
    annotations = [
        {"bbox": [2, 4, 10, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 3},
        {"bbox": [20, 5, 28, 15], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1},
    ]
    record = {"file_name": str(file_name), "image_id": 5, "height": pixels.shape[0], "width": pixels.shape[1]}
    return record | {"annotations": annotations, "relations": [[0, 1, 2], [1, 0, 0], [0, 1, 2]]} | more


def test_hand_computed_flip(tmp_path):
    mapped = SceneGraphMapper(True, augmentations=[HFlipTransform(30)])(_record(tmp_path))
    # x becomes 30 - x: [2, 12] -> [18, 28] and [20, 28] -> [2, 10].
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[18, 4, 28, 12], [2, 5, 10, 15]]
    assert mapped["instances"].gt_classes.tolist() == [3, 1]
    assert mapped["relations"].tolist() == [[0, 1, 2], [1, 0, 0]]  # the duplicate is gone
    assert "annotations" not in mapped


def test_test_time_leaves_annotations_and_duplicates_alone(tmp_path):
    record = _record(tmp_path)
    mapped = SceneGraphMapper(False, augmentations=[T.ResizeTransform(20, 30, 40, 60)])(record)
    assert mapped["image"].shape == (3, 40, 60) and mapped["image"].dtype == torch.uint8
    assert (mapped["height"], mapped["width"]) == (20, 30)
    assert mapped["annotations"] == record["annotations"] and mapped["relations"] == record["relations"]
    assert "instances" not in mapped
    mapped["annotations"][0]["bbox"][0] = -1  # a copy: the dataset stays as it is
    assert record["annotations"][0]["bbox"][0] == 2


@pytest.mark.parametrize("task", ["predcls", "sgcls"])
def test_annotated_objects_are_given_in_pixels_of_the_file(tmp_path, task):
    crowd = {"bbox": [0, 0, 30, 20], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1}
    record = _record(tmp_path)
    # A crowd is no object; a repeated object and one without relations are.
    record["annotations"] = [crowd, *record["annotations"], record["annotations"][0]]
    record["relations"] = []
    given = SceneGraphMapper(False, augmentations=[T.ResizeTransform(20, 30, 40, 60)], task=task)(record)["given"]
    assert given.image_size == (20, 30)
    assert given.pred_boxes.tensor.tolist() == [[2, 4, 12, 12], [20, 5, 28, 15], [2, 4, 12, 12]]
    assert given.pred_classes.tolist() == ([3, 1, 3] if task == "predcls" else [-1, -1, -1])
    assert given.pred_classes.dtype == torch.int64
    nothing = SceneGraphMapper(False, augmentations=[], task=task)(_record(tmp_path, annotations=[], relations=[]))
    assert nothing["given"].pred_boxes.tensor.shape == (0, 4) and len(nothing["given"].pred_classes) == 0


def test_nothing_is_given_in_training_and_in_sgdet(tmp_path):
    assert "given" not in SceneGraphMapper(True, augmentations=[], task="predcls")(_record(tmp_path))
    assert "given" not in SceneGraphMapper(False, augmentations=[])(_record(tmp_path))
    record = _record(tmp_path)
    del record["annotations"]
    with pytest.raises(EGTRError, match="field annotations is missing"):
        SceneGraphMapper(False, augmentations=[], task="sgcls")(record)


def test_image_without_annotations(tmp_path):
    mapped = SceneGraphMapper(True, augmentations=[])(_record(tmp_path, annotations=[], relations=[]))
    assert len(mapped["instances"]) == 0 and mapped["instances"].gt_boxes.tensor.shape == (0, 4)
    assert mapped["instances"].gt_classes.dtype == torch.int64
    assert mapped["relations"].shape == (0, 3) and mapped["relations"].dtype == torch.int64


def test_all_objects_cropped_away(tmp_path):
    mapped = SceneGraphMapper(True, augmentations=[CropTransform(13, 0, 5, 20)])(_record(tmp_path))
    assert len(mapped["instances"]) == 0 and mapped["relations"].shape == (0, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_images_of_every_mode_become_rgb(tmp_path, mode):
    record = _record(tmp_path)
    drawn = Image.new("RGB", (30, 20), (255, 0, 0) if mode in ("RGB", "RGBA", "P") else (255, 255, 255))
    drawn.convert(mode).save(record["file_name"])
    image = SceneGraphMapper(True, augmentations=[])(record)["image"]
    assert image.shape == (3, 20, 30) and image.dtype == torch.uint8
    assert image[:, 0, 0].tolist() == ([255, 0, 0] if mode in ("RGB", "RGBA", "P") else [255, 255, 255])


def test_image_format(tmp_path):
    red = np.zeros((20, 30, 3), dtype=np.uint8)
    red[..., 0] = 255
    image = SceneGraphMapper(False, augmentations=[], image_format="BGR")(_record(tmp_path, red))["image"]
    assert image[:, 0, 0].tolist() == [0, 0, 255]


def test_size_is_added_where_the_dict_lacks_it(tmp_path):
    record = _record(tmp_path)
    del record["height"], record["width"]
    mapped = SceneGraphMapper(True, augmentations=[T.ResizeTransform(20, 30, 40, 60)])(record)
    assert (mapped["height"], mapped["width"]) == (20, 30)


def test_messages_name_the_file(tmp_path):
    mapper = SceneGraphMapper(True, augmentations=[])
    with pytest.raises(EGTRError, match=r"image\.png: fields height, width are 20, 99, but .* 20 high and 30 wide"):
        mapper(_record(tmp_path, width=99))
    with pytest.raises(EGTRError, match=r"image\.png \(image id 5\): field relations .* 2 annotations"):
        mapper(_record(tmp_path, relations=[[0, 2, 0]]))
    record = _record(tmp_path)
    (tmp_path / "image.png").write_bytes(b"no image")
    with pytest.raises(EGTRError, match=r"image\.png: cannot be read as an image"):
        mapper(record)
    (tmp_path / "image.png").unlink()
    with pytest.raises(EGTRError, match=r"image\.png: cannot be read as an image"):
        mapper(record)


@pytest.fixture
def sided():
    """Metadata of a dataset with predicates that know left from right."""
    metadata = MetadataCatalog.get("sided")
    metadata.set(thing_classes=["thing"] * 4, predicate_classes=["left of", "on", "right of"])
    DatasetCatalog.register("sided", list)
    yield metadata
    DatasetCatalog.remove("sided")
    MetadataCatalog.remove("sided")


@pytest.mark.parametrize(
    "transforms, expected",
    [
        ([], [[0, 1, 2], [1, 0, 0]]),
        ([HFlipTransform(30)], [[0, 1, 0], [1, 0, 2]]),
        ([HFlipTransform(30), HFlipTransform(30)], [[0, 1, 2], [1, 0, 0]]),
        ([VFlipTransform(20)], [[0, 1, 2], [1, 0, 0]]),
        # Hidden in a nested list, as in one branch of the recipe.
        ([T.AugmentationList([HFlipTransform(30), T.ResizeTransform(20, 30, 40, 60)])], [[0, 1, 0], [1, 0, 2]]),
    ],
)
def test_mirroring_swaps_left_and_right_where_the_metadata_says_so(tmp_path, sided, transforms, expected):
    sided.flip_predicate_pairs = [("left of", "right of")]
    table = flip_table("sided")
    assert table.tolist() == [2, 1, 0]
    mapper = SceneGraphMapper(True, augmentations=transforms, flip_predicates=table)
    assert mapper(_record(tmp_path))["relations"].tolist() == expected


def test_flip_pairs_are_optional_and_checked(sided):
    assert flip_table("sided") is None
    for pairs, words in (
        ([("left of", "starboard")], "'starboard' is not among"),
        # As in YAML when one forgets the second pair of brackets.
        (["left of", "right of"], "write pairs of names, such as"),
        ([["left of", "right of", "on"]], "write pairs"),
        # Mirroring twice would not give "right of" back.
        ([["left of", "right of"], ["left of", "on"]], "'left of' is in two pairs"),
    ):
        # Metadata do not let a value change.
        sided.__dict__.pop("flip_predicate_pairs", None)
        sided.flip_predicate_pairs = pairs
        with pytest.raises(EGTRError, match=f"'sided', field flip_predicate_pairs: {words}"):
            flip_table("sided")


def test_training_sets_must_agree_on_flip_pairs(tiny_dataset):
    cfg = get_egtr_cfg()
    cfg.DATASETS.TRAIN = (tiny_dataset.train, tiny_dataset.val)
    first, second = (MetadataCatalog.get(name) for name in cfg.DATASETS.TRAIN)
    swapped = [("predicate0", "predicate2")]
    try:
        first.flip_predicate_pairs = swapped
        with pytest.raises(EGTRError, match=f"{tiny_dataset.train}.*{tiny_dataset.val}.*flip_predicate_pairs"):
            SceneGraphMapper(cfg, is_train=True)
        second.flip_predicate_pairs = [("predicate2", "predicate0")]  # the same pair
        assert SceneGraphMapper(cfg, is_train=True).flip_predicates.tolist() == [2, 1, 0, 3]
    finally:
        # The metadata are shared, and they do not let a value change.
        for metadata in (first, second):
            metadata.__dict__.pop("flip_predicate_pairs", None)


RELATIONS = [[0, 1, 2], [1, 0, 0], [0, 1, 1], [0, 1, 2], [1, 1, 0], [0, 1, 0]]


def test_of_several_predicates_on_a_pair_one_is_drawn_each_time(tmp_path):
    record = _record(tmp_path, relations=RELATIONS)
    mapper = SceneGraphMapper(True, augmentations=[], one_predicate_per_pair=True)
    np.random.seed(0)
    drawn = [mapper(record)["relations"].tolist() for _ in range(300)]
    # 0 -> 1 has predicates 0, 1 and 2 (2 is there twice and counts once), the other two pairs one each. The rows keep
    # their order in the file.
    assert {tuple(map(tuple, rows)) for rows in drawn} == {
        ((0, 1, 2), (1, 0, 0), (1, 1, 0)),
        ((1, 0, 0), (0, 1, 1), (1, 1, 0)),
        ((1, 0, 0), (1, 1, 0), (0, 1, 0)),
    }
    for predicate in range(3):
        often = sum([0, 1, predicate] in rows for rows in drawn)
        assert 67 < often < 133  # 100 within four standard deviations of 8.2


def test_all_predicates_of_a_pair_are_the_default_and_draw_nothing(tmp_path):
    record = _record(tmp_path, relations=RELATIONS)
    np.random.seed(0)
    mapped = SceneGraphMapper(True, augmentations=[])(record)
    assert mapped["relations"].tolist() == [[0, 1, 2], [1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 1, 0]]
    # The draws of augmentations are those of a dataset without such predicates.
    drawn = np.random.rand()
    np.random.seed(0)
    assert drawn == np.random.rand()


def test_predicates_per_pair_as_the_data_set_or_the_configuration_says(sided, tiny_dataset):
    cfg = get_egtr_cfg()

    def mapper(choice, *names):
        cfg.DATASETS.TRAIN, cfg.INPUT.PREDICATES_PER_PAIR = names, choice
        return SceneGraphMapper(cfg, is_train=True).one_predicate_per_pair

    sided.one_predicate_per_pair = True
    assert mapper("auto", "sided") and mapper("one", "sided") and not mapper("all", "sided")
    assert mapper("one", tiny_dataset.train) and not mapper("auto", tiny_dataset.train)
    with pytest.raises(EGTRError, match=f"'sided' and '{tiny_dataset.train}' .*Set INPUT.PREDICATES_PER_PAIR"):
        mapper("auto", tiny_dataset.train, "sided")
    assert mapper("one", tiny_dataset.train, "sided")
    with pytest.raises(EGTRError, match="INPUT.PREDICATES_PER_PAIR is 'two'; take 'auto', 'all' or 'one'"):
        mapper("two", "sided")
    # Without relation head nothing reads relations, so that its datasets need not agree.
    cfg.MODEL.EGTR.RELATION.ENABLED = False
    assert not mapper("auto", tiny_dataset.train, "sided")


def test_from_config(tiny_dataset):
    cfg = get_egtr_cfg()
    cfg.DATASETS.TRAIN, cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (tiny_dataset.train,), (48,), 36
    record = DatasetCatalog.get(tiny_dataset.train)[0]
    mapped = SceneGraphMapper(cfg, is_train=True)(record)
    assert mapped["image"].shape == (3, 48, 64)  # 72 x 96 at a short side of 48
    assert len(mapped["instances"]) == len(record["annotations"])
    assert mapped["relations"].tolist() == record["relations"]
    assert SceneGraphMapper(cfg, is_train=False)(record)["image"].shape == (3, 36, 48)
    cfg.TEST.SCENE_GRAPH.TASKS = ["predcls", "sgdet"]
    given = SceneGraphMapper(cfg, is_train=False)(record)["given"]
    assert given.pred_classes.tolist() == [annotation["category_id"] for annotation in record["annotations"]]
