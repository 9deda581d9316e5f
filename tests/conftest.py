"""Fixtures for all tests: a tiny data set on disk, in Visual Genome's JSON layout."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.data import register_egtr_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@dataclass(frozen=True)
class TinyDataset:
    """A data set on disk, registered as ``train``, ``val`` and ``test``."""

    root: Path
    train: str
    val: str
    test: str
    thing_classes: tuple[str, ...]
    predicate_classes: tuple[str, ...]


def write_tiny_dataset(
    root: Path,
    num_images: int = 6,
    num_classes: int = 5,
    num_predicates: int = 4,
    size: tuple[int, int] = (72, 96),
    seed: int = 0,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw coloured rectangles and write them with relations; returns the class and predicate names.

    Every picture of (height, width) ``size`` has two to four objects, a colour per class, and one to three
    relations without duplicates. Splits train, val and test differ and have ``num_images`` pictures each.
    """
    rng = np.random.RandomState(seed)
    height, width = size
    colours = np.random.RandomState(1).randint(40, 256, size=(num_classes, 3))
    classes = tuple(f"thing{k}" for k in range(num_classes))
    predicates = tuple(f"predicate{k}" for k in range(num_predicates))
    (root / "images").mkdir(parents=True)
    rel = {"rel_categories": ["__background__", *predicates]}
    image_ids, annotation_ids = itertools.count(1), itertools.count(1)
    for split in ("train", "val", "test"):
        images, annotations, rel[split] = [], [], {}
        for _ in range(num_images):
            image_id, pixels = next(image_ids), np.zeros((height, width, 3), dtype=np.uint8)
            num_objects = rng.randint(2, 5)
            for _ in range(num_objects):
                w, h = rng.randint(12, width // 2), rng.randint(12, height // 2)
                x, y, label = rng.randint(0, width - w), rng.randint(0, height - h), rng.randint(num_classes)
                pixels[y : y + h, x : x + w] = colours[label]
                annotations.append(
                    {
                        "id": next(annotation_ids),
                        "image_id": image_id,
                        "category_id": int(label) + 1,
                        "bbox": [int(x), int(y), int(w), int(h)],
                        "area": int(w * h),
                        "iscrowd": 0,
                    }
                )
            pairs = list(itertools.permutations(range(num_objects), 2))
            chosen = rng.choice(len(pairs), size=min(len(pairs), rng.randint(1, 4)), replace=False)
            rel[split][str(image_id)] = [[*pairs[k], int(rng.randint(num_predicates)) + 1] for k in chosen]
            file_name = f"{image_id:06d}.png"
            cv2.imwrite(str(root / "images" / file_name), pixels)
            images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        categories = [{"id": k + 1, "name": name} for k, name in enumerate(classes)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))
    (root / "rel.json").write_text(json.dumps(rel))
    return classes, predicates


@pytest.fixture(scope="session")
def make_tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TinyDataset]]:
    """A function that writes and registers another tiny data set; takes ``write_tiny_dataset``'s keywords."""
    names = []

    def make(**options) -> TinyDataset:
        root = tmp_path_factory.mktemp("tiny") / "data"
        classes, predicates = write_tiny_dataset(root, **options)
        prefix = f"tiny{len(names)}"
        for split in ("train", "val", "test"):
            names.append(f"{prefix}_{split}")
            files = str(root / f"{split}.json"), str(root / "images")
            register_egtr_json(names[-1], *files, thing_classes=classes, predicate_classes=predicates)
        return TinyDataset(root, *names[-3:], classes, predicates)

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="session")
def tiny_dataset(make_tiny_dataset: Callable[..., TinyDataset]) -> TinyDataset:
    """Six pictures of 72 x 96 per split, 5 classes, 4 predicates. Shared: do not write to its files."""
    return make_tiny_dataset()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A Chromium without a window, for pages; skips where the machine has none."""
    # Here, since only tests of pages need it.
    from playwright.sync_api import sync_playwright

    from tests.browsing import FLAGS, find_browser

    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine: install one, or name it in EGTR_BROWSER")
    # Not for the whole session: its event loop would be in the way of others.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
