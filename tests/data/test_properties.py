"""Whatever the annotations and the configuration: relations stay with their objects."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from fvcore.transforms.transform import HFlipTransform
from hypothesis import strategies as st
from PIL import Image

from egtr.config.defaults import get_egtr_cfg
from egtr.data import SceneGraphMapper, build_augmentation
from egtr.data.datasets.annotations import ImageAnnotations, SceneGraphAnnotations, to_dataset_dicts
from egtr.data.resampling import PredicateResampling
from tests.data.exact_transforms import flatten, follow_box, trace_back
from tests.properties import check, few_or_many

PREDICATES = ["left of", "right of", "on", "above", "below"]
MIRRORED = [1, 0, 2, 3, 4]  # above and below are a pair as well, but not one of mirroring
NUM_CLASSES = 7
# Chances of boxes inside the image, partly or wholly outside, without area, and of two in one place.
PLACES = (0.5, 0.2, 0.1, 0.1, 0.1)


@pytest.fixture(scope="module", autouse=True)
def registered():
    DatasetCatalog.register("properties", list)
    MetadataCatalog.get("properties").set(
        thing_classes=[f"thing {k}" for k in range(NUM_CLASSES)],
        predicate_classes=PREDICATES,
        flip_predicate_pairs=[("left of", "right of")],
    )
    yield
    DatasetCatalog.remove("properties")
    MetadataCatalog.remove("properties")


@st.composite
def scenes(draw) -> ImageAnnotations:
    """Two to seven objects, each of a class of its own, by which it is known again; any boxes, any relations."""
    # Drawn one by one, hypothesis' numbers are mostly small: hardly any object would survive a crop.
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = rng.integers(8, 100, size=2).tolist()
    boxes: list[list[float]] = []
    for kind in rng.choice(["inside", "partly", "anywhere", "empty", "same"], rng.integers(2, 8), p=PLACES).tolist():
        if kind == "same" and boxes:
            boxes.append(boxes[rng.integers(len(boxes))])
            continue
        reach = {"inside": 0, "partly": 20, "anywhere": 150}.get(kind, 0)
        x = np.sort(rng.integers(-4 * reach, 4 * (width + reach), size=2, endpoint=True)) / 4
        y = np.sort(rng.integers(-4 * reach, 4 * (height + reach), size=2, endpoint=True)) / 4
        boxes.append([x[0], y[0], x[0] if kind == "empty" else x[1], y[1]])
    number = len(boxes)
    # Few pairs, so that some have several predicates; joins to itself and repetitions are among them.
    rows = np.column_stack([rng.integers(0, number, (20, 2)), rng.integers(0, len(PREDICATES), 20)])
    rows[10:, :2] = rows[:10, :2]
    rows[15:] = rows[5:10]
    return ImageAnnotations(
        image_id=1,
        file_name="scene.png",
        height=height,
        width=width,
        boxes=boxes,
        classes=rng.permutation(NUM_CLASSES)[:number],
        crowd=rng.random(number) < 0.1,
        relations=rng.permutation(rows)[: rng.integers(0, 20, endpoint=True)],
    )


@st.composite
def configurations(draw) -> CfgNode:
    """Any augmentation that the configuration allows, at sizes of the scenes."""
    cfg = get_egtr_cfg()
    cfg.DATASETS.TRAIN = ("properties",)
    cfg.INPUT.RANDOM_FLIP = draw(st.sampled_from(["horizontal", "horizontal", "vertical", "none"]))
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = draw(st.sampled_from(["choice", "range"]))
    cfg.INPUT.MIN_SIZE_TRAIN = tuple(sorted(draw(st.lists(st.integers(4, 120), min_size=2, max_size=2))))
    cfg.INPUT.MAX_SIZE_TRAIN = draw(st.sampled_from([0, 60, 200]))
    cfg.INPUT.CROP.ENABLED = draw(st.booleans())
    cfg.INPUT.CROP.PRE_RESIZE = draw(st.lists(st.integers(4, 120), min_size=1, max_size=3))
    cfg.INPUT.CROP.SIZE = sorted(draw(st.lists(st.integers(1, 150), min_size=2, max_size=2)))
    cfg.INPUT.PREDICATES_PER_PAIR = draw(st.sampled_from(["auto", "all", "one"]))
    return cfg


@dataclass
class Mapped:
    """A scene after the mapper, and the steps that its image went through."""

    record: dict
    steps: list
    boxes: np.ndarray
    classes: list[int]
    relations: list[tuple[int, int, int]]  # (class of the subject, class of the object, predicate)

    @property
    def size(self):
        return tuple(self.record["image"].shape[1:])


def run_mapper(folder, scene: ImageAnnotations, cfg: CfgNode, seed: int, resampling=None) -> Mapped:
    """Through the reader's last step and the mapper of the configuration, on an image on disk."""
    # The colour of a pixel says where it was: red its column, green its row.
    pixels = np.zeros((scene.height, scene.width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = 2 * np.arange(scene.width), 2 * np.arange(scene.height)[:, None]
    Image.fromarray(pixels).save(folder / scene.file_name)
    annotations = SceneGraphAnnotations(
        [scene], MetadataCatalog.get("properties").thing_classes, PREDICATES, str(folder), "scene.json"
    )
    (record,) = to_dataset_dicts(annotations)
    original = copy.deepcopy(record)

    # The same draws once more, for their own sake: the mapper draws its augmentations first.
    np.random.seed(seed)
    transforms = T.AugmentationList(build_augmentation(cfg, is_train=True))(T.AugInput(pixels))
    np.random.seed(seed)
    mapper = SceneGraphMapper(cfg, is_train=True)
    mapper.resampling = resampling
    mapped = mapper(record)
    assert record == original

    classes = mapped["instances"].gt_classes.tolist()
    return Mapped(
        mapped,
        list(flatten(transforms.transforms)),
        mapped["instances"].gt_boxes.tensor.numpy(),
        classes,
        [(classes[s], classes[o], p) for s, o, p in mapped["relations"].tolist()],
    )


def surviving_relations(scene: ImageAnnotations, mapped: Mapped) -> list[tuple[int, int, int]]:
    """The relations that have to be left when nothing is drawn among them, each once, in the order of the file."""
    mirrored = sum(isinstance(step, HFlipTransform) for step in mapped.steps) % 2 == 1
    named = (
        (int(scene.classes[s]), int(scene.classes[o]), MIRRORED[p] if mirrored else p)
        for s, o, p in scene.relations.tolist()
    )
    return [row for row in dict.fromkeys(named) if row[0] in mapped.classes and row[1] in mapped.classes]


def coarsest_pixels(steps: list) -> tuple[float, float]:
    """Width and height of a pixel, in pixels of the original, where the image is coarsest on its way."""
    scales = [(1.0, 1.0)]
    for step in steps:
        if isinstance(step, T.ResizeTransform):
            scales.append((scales[-1][0] * step.w / step.new_w, scales[-1][1] * step.h / step.new_h))
    return tuple(max(axis) for axis in zip(*scales, strict=True))


@few_or_many(40, 150)
def test_relations_stay_with_their_objects(tmp_path, examples):
    def holds(scene, cfg, seed):
        assert_relations_stay(tmp_path, scene, cfg, seed)

    check(examples, holds, scene=scenes(), cfg=configurations(), seed=st.integers(0, 2**32 - 1))


def assert_relations_stay(folder, scene, cfg, seed):
    mapped = run_mapper(folder, scene, cfg, seed)

    # Objects: the steps decide which are left, and where.
    expected = {}
    for box, label, crowd in zip(scene.boxes.tolist(), scene.classes.tolist(), scene.crowd, strict=True):
        moved = follow_box(box, mapped.steps, (scene.height, scene.width))
        if moved is not None and not crowd:
            expected[label] = [float(value) for value in moved]
    assert mapped.classes == list(expected)
    np.testing.assert_allclose(mapped.boxes, np.array(list(expected.values())).reshape(-1, 4), atol=1e-3)

    # The image moved along with the boxes.
    (height, width), coarseness = mapped.size, coarsest_pixels(mapped.steps)
    for x1, y1, x2, y2 in mapped.boxes.tolist():
        column, row = min(int((x1 + x2) / 2), width - 1), min(int((y1 + y2) / 2), height - 1)
        origin = trace_back((column + 0.5, row + 0.5), mapped.steps)
        shown = mapped.record["image"][:2, row, column].numpy() / 2 + 0.5
        # Resizing keeps a gradient but for the half pixel at the border; and colours are rounded.
        np.testing.assert_array_less(np.abs(shown - origin), 1 + np.array(coarseness))

    # Relations: none lost, none made up, none of a vanished object; one for each pair where that is configured.
    expected_rows = surviving_relations(scene, mapped)
    if cfg.INPUT.PREDICATES_PER_PAIR == "one":
        assert [row for row in expected_rows if row in mapped.relations] == mapped.relations
        pairs = [row[:2] for row in mapped.relations]
        assert len(pairs) == len(set(pairs)) and set(pairs) == {row[:2] for row in expected_rows}
    else:
        assert mapped.relations == expected_rows


@few_or_many(25, 75)
def test_resampling_only_leaves_out_frequent_predicates(tmp_path, examples):
    def holds(scene, cfg, seed, drop):
        assert_frequent_predicates_leave(tmp_path, scene, cfg, seed, drop)

    drops = st.sampled_from([0.0, 0.7, 5.0])
    check(examples, holds, scene=scenes(), cfg=configurations(), seed=st.integers(0, 2**32 - 1), drop=drops)


def assert_frequent_predicates_leave(folder, scene, cfg, seed, drop):
    cfg.INPUT.PREDICATES_PER_PAIR = "all"
    worth = np.array([1.0, 1.0, 2.5, 4.0, 1.0])
    resampling = PredicateResampling(worth, drop)
    mapped = run_mapper(folder, scene, cfg, seed, resampling)
    rows = surviving_relations(scene, mapped)
    assert [row for row in rows if row in mapped.relations] == mapped.relations
    # The image is worth its rarest predicate, also where a crop took that one's objects; reading took those without
    # area. Left and right are worth the same, so that mirroring makes no difference.
    usable = scene.usable()
    most = max((worth[p] for s, o, p in scene.relations if usable[s] and usable[o]), default=1.0)
    stays = {row for row in rows if worth[row[2]] == most or drop == 0}
    assert stays <= set(mapped.relations)
    if drop == 5.0:  # 5 * (r - r_p) / r is at least 1 for any two of the worths, so that all others go
        assert stays == set(mapped.relations)
