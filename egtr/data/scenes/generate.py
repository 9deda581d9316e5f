"""Drawing of the scenes, and writing them to the disk in EGTR's JSON layout."""

from __future__ import annotations

import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from egtr.structures import ConfigurationError, WriteError
from egtr.structures.files import write_text

from .backgrounds import paint_background
from .canvas import Canvas, Pen
from .layout import compose
from .relations import look_at, relate
from .scene import Scene

SPLITS = ("train", "val", "test")
SCENES_CLASSES = (
    "person", "hat", "umbrella", "dog", "horse", "bird", "tree", "house", "window",
    "car", "wheel", "table", "cup", "ball", "sun", "cloud", "kite", "boat",
)  # fmt: skip
SCENES_PREDICATES = (
    "near", "has", "wearing", "on", "behind", "in front of", "above", "in",
    "holding", "beside", "riding", "under", "flying", "chasing", "kicking",
)  # fmt: skip
# Raise it with every change of a pixel or an annotation: datasets on the disk are then drawn again.
GENERATOR_VERSION = 1
STAMP_FILE = "scenes.stamp.json"
_JSON_FILES = (*(f"{split}.json" for split in SPLITS), "rel.json")
# The predicates by kind, as Motifs (Zellers et al., CVPR 2018) divides those of Visual Genome: geometric, possessive,
# semantic.
SCENES_FAMILIES = {
    "spatial": ("near", "on", "behind", "in front of", "above", "in", "beside", "under"),
    "possessive": ("has", "wearing"),
    "action": ("holding", "riding", "flying", "chasing", "kicking"),
}
# Image ids are unique over the splits, like Visual Genome's.
_ID_STRIDE = 1_000_000
_UNFINISHED = "drawing was interrupted\n"


def paint(scene: Scene) -> tuple[np.ndarray, list[np.ndarray], list[int], np.ndarray, dict]:
    """Paint ``scene`` from back to front.

    Returns:
        the image, (H, W, 3) uint8 RGB; for each figure its mask, (H, W) bool; for each figure its number of pixels,
        including pixels outside of the image; the index of the figure seen at each pixel, (H, W) int16, -1 for the
        background; and the number of pixels that one figure hides of another, {(front, back): count}.
    """
    canvas = Canvas(scene.height, scene.width)
    paint_background(canvas, scene.setting, scene.horizon, scene.rng)
    masks, totals = [None] * len(scene.figures), [0] * len(scene.figures)
    covered: dict = {}
    steps = [(figure.depth, 0, i) for i, figure in enumerate(scene.figures)]
    steps += [(depth, 1, i) for i, (depth, _, _) in enumerate(scene.strokes)]
    for _, is_stroke, i in sorted(steps):
        layer = canvas.layer()
        if is_stroke:
            _, points, color = scene.strokes[i]
            layer.line(points, color)
            canvas.decorate(layer)
            continue
        figure = scene.figures[i]
        figure.draw(Pen(layer, figure.x, figure.y, figure.size, figure.flip), figure.style, **figure.look)
        masks[i], totals[i], hidden = canvas.paste(layer, i)
        for back in np.flatnonzero(hidden):
            pair = (figure.parent or figure, scene.figures[back].parent or scene.figures[back])
            covered[pair] = covered.get(pair, 0) + int(hidden[back])
    return canvas.image, masks, totals, canvas.owner, covered


def draw_scene(seed: int, split: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw image ``index`` of a split. The result depends only on the three arguments.

    Returns:
        image: (H, W, 3) uint8, RGB; H and W in 208..288.
        boxes: (N, 4) int64, x0, y0, x1, y1 in pixels around the visible part of each object; x1 and y1 are exclusive.
        classes: (N,) int64, indices into :data:`SCENES_CLASSES`; N in 3..13.
        relations: (T, 3) int64, T at least 1: subject and object (indices into ``boxes``), predicate (index into
            :data:`SCENES_PREDICATES`).

    Raises:
        ConfigurationError: there is no such split.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"split {split!r}: choose one of {', '.join(SPLITS)}")
    for attempt in itertools.count():
        rng = np.random.RandomState([seed, SPLITS.index(split), index, attempt])
        scene = compose(rng)
        image, masks, totals, owner, covered = paint(scene)
        sights = look_at(masks, totals, scene, owner)
        relations = relate(scene, sights, covered)
        # A dull or crowded image is thrown away, and another one is composed.
        if 3 <= len(sights) <= 13 and relations:
            break
    order = rng.permutation(len(sights))
    place = np.argsort(order)
    boxes = np.array([sights[i].box for i in order], np.int64)
    classes = np.array([SCENES_CLASSES.index(sights[i].figure.name) for i in order], np.int64)
    triplets = [(place[s], place[o], SCENES_PREDICATES.index(p)) for s, o, p in relations]
    return image, boxes, classes, np.array(sorted(triplets), np.int64)


def _write_scene(root: str, seed: int, split: str, index: int) -> tuple[dict, list[dict], list[list[int]]]:
    image, boxes, classes, relations = draw_scene(seed, split, index)
    image_id = SPLITS.index(split) * _ID_STRIDE + index + 1
    file_name = f"{split}_{index:05d}.png"
    if not cv2.imwrite(os.path.join(root, "images", file_name), image[:, :, ::-1]):
        raise WriteError(f"{os.path.join(root, 'images', file_name)}: cannot be written; is the disk full?")
    record = {"id": image_id, "file_name": file_name, "height": image.shape[0], "width": image.shape[1]}
    sizes = boxes[:, 2:] - boxes[:, :2]
    annotations = [
        {
            "image_id": image_id,
            "category_id": int(label) + 1,
            "bbox": [int(v) for v in (*box[:2], *size)],
            "area": int(size[0] * size[1]),
            "iscrowd": 0,
        }
        for box, size, label in zip(boxes, sizes, classes, strict=True)
    ]
    return record, annotations, [[int(s), int(o), int(p) + 1] for s, o, p in relations]


def prepare_scenes(
    root: str | Path, seed: int = 0, sizes: tuple[int, int, int] = (4000, 400, 400), processes: int = 2
) -> bool:
    """Write the dataset to ``root`` in EGTR's JSON layout, unless the same dataset is there already.

    Args:
        root: folder that receives ``images/``, ``train.json``, ``val.json``, ``test.json`` and ``rel.json``.
        seed: 0..2**32 - 1; another seed gives other images of the same kind.
        sizes: number of training, validation and test images.
        processes: number of processes that draw at the same time; the result does not depend on it.

    Returns:
        True if anything had to be drawn.

    Raises:
        ConfigurationError: an argument is out of range.
        WriteError: ``root`` holds another dataset, or an image cannot be written.
    """
    root, sizes = Path(root), tuple(sizes)
    if len(sizes) != len(SPLITS) or not all(0 < size < _ID_STRIDE for size in sizes):
        raise ConfigurationError(
            f"sizes {sizes}: give three numbers of images, for {', '.join(SPLITS)}, each at least 1"
        )
    if not 0 <= seed < 1 << 32:
        raise ConfigurationError(f"seed {seed}: give an integer in 0..{(1 << 32) - 1}")
    if processes < 1:
        raise ConfigurationError(f"processes {processes}: give at least 1")
    stamp = json.dumps({"version": GENERATOR_VERSION, "seed": seed, "sizes": list(sizes)}) + "\n"
    stamp_file = root / STAMP_FILE
    if stamp_file.is_file():
        if stamp_file.read_text() == stamp and _is_complete(root, sizes):
            return False
    elif any((root / name).exists() for name in (*_JSON_FILES, "images")):
        raise WriteError(
            f"{root}: holds a dataset that was not drawn here ({STAMP_FILE} is missing); "
            "choose another folder, or delete this one"
        )
    (root / "images").mkdir(parents=True, exist_ok=True)
    # The dataset of an interrupted run must count neither as complete nor as another program's.
    write_text(stamp_file, _UNFINISHED)
    for split in SPLITS:
        for stale in (root / "images").glob(f"{split}_*.png"):
            stale.unlink()
    relations: dict = {}
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(SCENES_CLASSES)]
    # OpenCV's own threads gain nothing on images of this size, and a forked process must not inherit them.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ProcessPoolExecutor(processes, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            for split, size in zip(SPLITS, sizes, strict=True):
                work = pool.map(partial(_write_scene, str(root), seed, split), range(size), chunksize=16)
                images, annotations, relations[split] = [], [], {}
                for record, objects, triplets in tqdm(work, f"drawing {split}", size, unit="image"):
                    images.append(record)
                    relations[split][str(record["id"])] = triplets
                    annotations += [{"id": i, **entry} for i, entry in enumerate(objects, len(annotations) + 1)]
                content = {"images": images, "annotations": annotations, "categories": categories}
                write_text(root / f"{split}.json", json.dumps(content))
    finally:
        cv2.setNumThreads(threads)
    relations["rel_categories"] = ["__background__", *SCENES_PREDICATES]
    write_text(root / "rel.json", json.dumps(relations))
    write_text(stamp_file, stamp)
    return True


def _is_complete(root: Path, sizes: tuple[int, ...]) -> bool:
    """Check that no file has been lost since the stamp was written."""
    images = [len(list((root / "images").glob(f"{split}_*.png"))) for split in SPLITS]
    return images == list(sizes) and all((root / name).is_file() for name in _JSON_FILES)
