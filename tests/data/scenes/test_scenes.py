"""The drawn dataset: the same pixels everywhere, tight boxes, relations that can be seen."""

import collections
import hashlib
import json

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from detectron2.structures import BoxMode

from egtr.cli import main
from egtr.data.datasets import read_egtr_json, to_dataset_dicts
from egtr.data.datasets.egtr_json import SPLITS
from egtr.data.scenes import SCENES_CLASSES, SCENES_PREDICATES, draw_scene, prepare_scenes
from egtr.data.scenes.canvas import INK, MARGIN, Canvas, Layer, Pen
from egtr.data.scenes.generate import STAMP_FILE, paint
from egtr.data.scenes.layout import compose
from egtr.data.scenes.relations import look_at, relate
from egtr.data.scenes.scene import Scene
from egtr.structures import EGTRError

SIZES = (18, 3, 2)
# Python 3.12 and newer warn of forks in processes with threads, which test runners have.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def inside(layer):
    """The layer's mask within the image."""
    return layer.mask[MARGIN:-MARGIN, MARGIN:-MARGIN]


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets") / "scenes"
    assert prepare_scenes(root, seed=3, sizes=SIZES, processes=1)
    return root


# --- drawing ------------------------------------------------------------------------------------------------


def test_oval_of_radius_two():
    # A pixel belongs to the disc of radius 2 when it is at most 2.5 pixels from the centre: dx^2 + dy^2 <= 6.25.
    layer = Layer(9, 9)
    layer.oval((4, 4), (2, 2), (1, 2, 3))
    expected = ["01110", "11111", "11111", "11111", "01110"]
    assert inside(layer)[2:7, 2:7].tolist() == [[int(pixel) for pixel in row] for row in expected]
    assert inside(layer).sum() == 21


def test_limb_has_round_ends_and_its_width():
    # Width 3 from (3, 5) to (8, 5): rows 4 to 6 of columns 3 to 8. The ends reach 1.5 pixels further, which takes in
    # one more column, corners included: 1 + 1 <= 1.5^2.
    layer = Layer(11, 12)
    layer.limb([(3, 5), (8, 5)], 3, (9, 9, 9))
    rows, columns = np.nonzero(inside(layer))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 6, 2, 9)
    assert inside(layer).sum() == 3 * 8


def test_figures_are_outlined_and_own_their_pixels():
    canvas = Canvas(20, 30)
    back, front = canvas.layer(), canvas.layer()
    back.polygon([(5, 5), (14, 5), (14, 10), (5, 10)], (200, 0, 0))
    mask, total, covered = canvas.paste(back, 0)
    # 10 x 6 pixels and an outline of 10 + 10 + 6 + 6, without corners.
    assert total == mask.sum() == 60 + 32 and not covered.any()
    front.polygon([(12, 7), (40, 7), (40, 8), (12, 8)], (0, 200, 0))
    mask, total, covered = canvas.paste(front, 1)
    # 29 x 2 pixels and an outline of 29 + 29 + 2 + 2, of which columns 12 to 29 (the outline's 11 to 29) are inside.
    assert total == 58 + 62 and mask.sum() == 2 * 18 + 2 * 18 + 2
    # Hidden up to column 15, the outline behind: columns 11 to 15 of rows 7 and 8, columns 12 to 15 of rows 6 and 9.
    assert covered.tolist() == [10 + 8]
    assert tuple(canvas.image[5, 4]) == INK and tuple(canvas.image[5, 5]) == (200, 0, 0)
    assert tuple(canvas.image[7, 12]) == (0, 200, 0) and canvas.owner[0, 0] == -1


def test_decoration_has_no_owner():
    canvas = Canvas(10, 10)
    empty, stroke = canvas.layer(), canvas.layer()
    canvas.decorate(empty)
    stroke.line([(0, 3), (9, 3)], (7, 8, 9))
    canvas.decorate(stroke)
    assert (canvas.image[3] == (7, 8, 9)).all() and canvas.image.any(axis=2).sum() == 10
    assert (canvas.owner == -1).all()


def test_pen_mirrors_and_scales():
    assert Pen(None, 100, 50, 40).at(25, 50) == (110, 30)
    assert Pen(None, 100, 50, 40, flip=True).at(25, 50) == (90, 30)


# --- single images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "index", "digest"),
    [
        ("train", 0, "2d232d235545a374"),
        ("train", 3, "1a81603355abc422"),
        ("train", 2, "cefe2fd860fd2121"),
        ("train", 101, "015682857b85170f"),
        ("val", 399, "b8dab2b04d63b394"),
        ("test", 7, "7b4b28469934e30f"),
    ],
)
def test_same_pixels_and_annotations_everywhere(split, index, digest):
    content = hashlib.sha256()
    for array in draw_scene(0, split, index):
        content.update(repr(array.shape).encode() + np.ascontiguousarray(array).astype("<i8").tobytes())
    assert content.hexdigest()[:16] == digest


def test_seed_split_and_index_each_change_the_image():
    images = [draw_scene(*key)[0] for key in ((0, "train", 1), (1, "train", 1), (0, "val", 1), (0, "train", 2))]
    assert len({image.tobytes() for image in images}) == 4


def test_boxes_are_tight_around_what_is_seen():
    for index in range(25):
        scene = compose(np.random.RandomState([7, index]))
        image, masks, totals, owner, covered = paint(scene)
        sights = look_at(masks, totals, scene, owner)
        for sight in sights:
            family = [i for i, f in enumerate(scene.figures) if sight.figure in (f, f.parent)]
            ys, xs = np.nonzero(np.isin(owner, family))
            assert sight.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert sight.visible == len(xs)
        # Only hidden, cut or tiny figures were left out.
        for i in set(range(len(scene.figures))) - {scene.figures.index(s.figure) for s in sights}:
            family = [k for k, f in enumerate(scene.figures) if scene.figures[i] in (f, f.parent)]
            seen, drawn = np.isin(owner, family), np.logical_or.reduce([masks[k] for k in family])
            sides = [np.ptp(axis) + 1 for axis in np.nonzero(seen)] if seen.any() else [0]
            assert seen.sum() < 0.4 * drawn.sum() or masks[i].sum() < 0.55 * totals[i] or min(sides) < 11
        assert image.shape == (scene.height, scene.width, 3) and image.dtype == np.uint8


def stage(*figures, seed=0):
    """Relations of figures given as (name, x, y, size, depth, look), by name; drawn on a plain background."""
    scene = Scene(256, 240, "meadow", 130, np.random.RandomState(seed))
    for name, x, y, size, depth, look in figures:
        scene.add(name, (x, y), size, depth, False, **look)
    _, masks, totals, owner, covered = paint(scene)
    sights = look_at(masks, totals, scene, owner)
    names = [sight.figure.name for sight in sights]
    return {(names[s], p, names[o]) for s, o, p in relate(scene, sights, covered)}


def test_spatial_relations_follow_the_drawing():
    # Over a dozen draws of the annotator's mood, each true wording turns up and no other.
    def wordings(*figures):
        return set().union(*(stage(*figures, seed=seed) for seed in range(12)))

    standing = {"pose": "stand"}
    person = ("person", 80, 220, 90, 22000, standing)
    # A person of 90 pixels is about 27 pixels wide to each side, a dog of 50 about 26: gaps of about 5, 35 and 100.
    for x, predicate in ((138, "beside"), (168, "near"), (225, None)):
        found = wordings(person, ("dog", x, 220, 50, 22000, standing))
        assert {p for _, p, _ in found} == ({predicate} if predicate else set())
    found = wordings(("house", 120, 150, 130, 15000, {}), ("tree", 160, 170, 110, 17000, {}))
    assert found == {("house", "behind", "tree"), ("tree", "in front of", "house")}
    found = wordings(("house", 120, 170, 130, 17000, {}), ("tree", 160, 150, 130, 15000, {}))
    assert found == {("tree", "behind", "house"), ("house", "in front of", "tree")}
    assert wordings(person, ("bird", 80, 60, 30, 16000, {"pose": "fly"})) == {("bird", "above", "person")}
    assert not wordings(person, ("bird", 200, 60, 30, 16000, {"pose": "fly"}))


def test_unknown_split():
    with pytest.raises(EGTRError, match="split 'training': choose one of train, val, test"):
        draw_scene(0, "training", 0)


# --- statistics ---------------------------------------------------------------------------------------------


def test_boxes_and_relations_are_well_formed():
    # The last two have what is rare: a dog that chases a bird, an open car without a driver.
    drawn = [draw_scene(0, "train", index) for index in (*range(100), 114, 264)]
    for image, boxes, classes, relations in drawn:
        height, width = image.shape[:2]
        assert 3 <= len(boxes) == len(classes) <= 13 and len(relations) >= 1
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (width, height)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 11).all()
        assert ((classes >= 0) & (classes < len(SCENES_CLASSES))).all()
        subjects, objects, predicates = relations.T
        assert (relations >= 0).all() and (relations[:, :2] < len(boxes)).all() and (subjects != objects).all()
        assert (predicates < len(SCENES_PREDICATES)).all()
        # One wording for a pair.
        assert len({frozenset(pair) for pair in relations[:, :2].tolist()}) == len(relations)
    sides = np.concatenate([(boxes[:, 2:] - boxes[:, :2]).min(1) for _, boxes, _, _ in drawn])
    assert (sides < 14).mean() < 0.01


@pytest.mark.slow
def test_long_tail_sparse_and_ambiguous():
    drawn = [draw_scene(0, "train", index)[1:] for index in range(300)]
    predicates, classes, pairs = collections.Counter(), collections.Counter(), collections.defaultdict(set)
    for _, labels, relations in drawn:
        classes.update(SCENES_CLASSES[label] for label in labels)
        for s, o, p in relations:
            predicates[SCENES_PREDICATES[p]] += 1
            pairs[SCENES_CLASSES[labels[s]], SCENES_CLASSES[labels[o]]].add(SCENES_PREDICATES[p])
    assert set(predicates) == set(SCENES_PREDICATES) and set(classes) == set(SCENES_CLASSES)
    counts = sorted(predicates.values())
    assert counts[-1] >= 20 * counts[0]
    # At least 150 examples of the rarest in 4000 images.
    assert counts[0] * 4000 >= 150 * len(drawn)
    assert 4.5 <= sum(counts) / len(drawn) <= 6
    # Ordered pairs that stand in no annotated relation are the rule.
    possible = sum(len(labels) * (len(labels) - 1) for _, labels, _ in drawn)
    assert sum(counts) < 0.15 * possible
    for pair, expected in {
        ("dog", "table"): {"under", "on", "beside"},
        ("ball", "table"): {"under", "on", "near"},
        ("person", "horse"): {"riding", "near", "beside", "in front of"},
        ("bird", "tree"): {"on", "in front of", "above"},
        ("person", "ball"): {"kicking", "holding", "near"},
        ("person", "umbrella"): {"holding", "under", "near"},
        ("person", "kite"): {"flying", "holding"},
    }.items():
        assert expected <= pairs[pair], pair


# --- files --------------------------------------------------------------------------------------------------


@forks
def test_files_do_not_depend_on_the_number_of_processes(dataset, tmp_path):
    assert prepare_scenes(tmp_path, seed=3, sizes=SIZES, processes=2)
    assert files(tmp_path) == files(dataset)


def test_layout_on_disk(dataset):
    rel = json.loads((dataset / "rel.json").read_text())
    assert rel["rel_categories"] == ["__background__", *SCENES_PREDICATES]
    image_ids = []
    for split, size in zip(SPLITS, SIZES, strict=True):
        content = json.loads((dataset / f"{split}.json").read_text())
        assert [c["id"] for c in content["categories"]] == list(range(1, len(SCENES_CLASSES) + 1))
        assert [a["id"] for a in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
        assert len(content["images"]) == size and len(rel[split]) == size
        image_ids += [image["id"] for image in content["images"]]
    assert len(set(image_ids)) == sum(SIZES)
    assert len(list((dataset / "images").iterdir())) == sum(SIZES)


def test_reads_back_what_was_drawn(dataset):
    """Through the reader of EGTR's JSON."""
    for split in SPLITS:
        annotations = read_egtr_json(str(dataset / f"{split}.json"), str(dataset / "images"))
        for index, record in enumerate(to_dataset_dicts(annotations)):
            image, boxes, classes, relations = draw_scene(3, split, index)
            assert (record["height"], record["width"]) == image.shape[:2]
            assert all(annotation["bbox_mode"] == BoxMode.XYXY_ABS for annotation in record["annotations"])
            assert [annotation["bbox"] for annotation in record["annotations"]] == boxes.tolist()
            assert [annotation["category_id"] for annotation in record["annotations"]] == classes.tolist()
            assert np.array(record["relations"]).tolist() == relations.tolist()
            assert (read_image(record["file_name"], "RGB") == image).all()


@forks
def test_draws_only_what_is_missing(tmp_path):
    root = tmp_path / "scenes"
    assert prepare_scenes(root, sizes=(2, 1, 1), processes=1)
    before = files(root)
    assert not prepare_scenes(root, sizes=(2, 1, 1), processes=1)
    (root / "images/train_00001.png").unlink()
    assert prepare_scenes(root, sizes=(2, 1, 1), processes=1)
    assert files(root) == before
    assert prepare_scenes(root, seed=1, sizes=(1, 1, 1), processes=1)
    # The second training image of the former set is gone.
    assert len(list((root / "images").iterdir())) == 3
    # As an interrupted run leaves it.
    (root / STAMP_FILE).write_text("drawing was interrupted\n")
    assert prepare_scenes(root, sizes=(2, 1, 1), processes=1)
    assert files(root) == before


def test_bad_arguments(tmp_path):
    for options, message in (
        ({"sizes": (5, 0, 1)}, r"sizes \(5, 0, 1\): give three numbers"),
        ({"sizes": (5, 1)}, r"sizes \(5, 1\): give three numbers"),
        ({"seed": -1}, "seed -1: give an integer in 0"),
        ({"processes": 0}, "processes 0: give at least 1"),
    ):
        with pytest.raises(EGTRError, match=message):
            prepare_scenes(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()
    (tmp_path / "rel.json").write_text("{}")
    with pytest.raises(EGTRError, match="holds a dataset that was not drawn here"):
        prepare_scenes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rel.json"]


@forks
def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    arguments = ["data", "prepare-scenes", "--seed", "5", "--sizes", "1", "1", "1", "--processes", "1"]
    assert main(arguments) == 0
    assert (tmp_path / "scenes/rel.json").is_file() and "drawn" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "complete already" in capsys.readouterr().out
    assert main(["data", "prepare-scenes", "--sizes", "1", "1", "0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("egtr data prepare-scenes: error: ") and "give three numbers" in error


@forks
@pytest.mark.slow
def test_the_whole_data_set(tmp_path):
    """All annotations of the default dataset, to which the shipped weights belong."""
    assert prepare_scenes(tmp_path)
    content = hashlib.sha256()
    for name in ("train.json", "val.json", "test.json", "rel.json"):
        content.update((tmp_path / name).read_bytes())
    assert content.hexdigest() == "15f341d64ba9fc9c9b0162fa1df1884a3c98ce7f0fdf4fb86fd17824c6412d60"
    train = json.loads((tmp_path / "rel.json").read_text())["train"]
    counts = collections.Counter(predicate for triplets in train.values() for _, _, predicate in triplets)
    assert len(counts) == len(SCENES_PREDICATES)
    assert min(counts.values()) >= 150 and max(counts.values()) >= 20 * min(counts.values())
