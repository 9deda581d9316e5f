#!/usr/bin/env python
"""Draw a second `scenes` dataset with other labels (merged, renamed and in another order), written as COCO-SG.

It stands in for your own data when a model is fine-tuned on other labels (configs/own_labels.yaml).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from egtr.data.convert import read_splits, write_dataset
from egtr.data.datasets.annotations import SceneGraphAnnotations
from egtr.data.scenes import prepare_scenes
from egtr.structures import EGTRError

# New name to the names of `scenes` that it replaces.
CLASSES = {
    "building": ("house", "window"),
    "furniture": ("table", "cup"),
    "human": ("person",),
    "animal": ("dog", "horse", "bird"),
    "sky": ("sun", "cloud"),
    "plant": ("tree",),
    "garment": ("hat", "umbrella"),
    "vehicle": ("car", "boat", "wheel"),
    "toy": ("ball", "kite"),
}
PREDICATES = {
    "carried by": ("on", "in", "riding"),
    "close to": ("near", "beside"),
    "farther than": ("behind",),
    "nearer than": ("in front of",),
    "over": ("above",),
    "sheltered by": ("under",),
    "owns": ("has", "wearing"),
    "plays with": ("holding", "flying", "chasing", "kicking"),
}


def relabel(annotations: SceneGraphAnnotations) -> None:
    """Replace the labels of ``annotations``, in place."""
    classes = _new_numbers(annotations.thing_classes, CLASSES)
    predicates = _new_numbers(annotations.predicate_classes, PREDICATES)
    for image in annotations.images:
        image.classes = classes[image.classes]
        image.relations[:, 2] = predicates[image.relations[:, 2]]
        # Two relations of a pair may have become one.
        image.relations = np.unique(image.relations, axis=0)
    annotations.thing_classes, annotations.predicate_classes = list(CLASSES), list(PREDICATES)


def _new_numbers(old_names: list[str], merged: dict[str, tuple[str, ...]]) -> np.ndarray:
    new = {old: number for number, names in enumerate(merged.values()) for old in names}
    return np.array([new[name] for name in old_names])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/own_labels"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--sizes", type=int, nargs=3, default=(400, 100, 100), metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--seed", type=int, default=1, help="not the 0 of the dataset `scenes` (%(default)s)")
    args = parser.parse_args(argv)
    try:
        prepare_scenes(args.output / "drawn", args.seed, tuple(args.sizes))
        inputs = {split: str(args.output / "drawn" / f"{split}.json") for split in ("train", "val", "test")}
        splits = read_splits("egtr", inputs, str(args.output / "drawn/images"))
        for annotations in splits.values():
            relabel(annotations)
        paths = write_dataset(splits, "coco_sg", args.output, overwrite=True)
    except EGTRError as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"{len(CLASSES)} classes, {len(PREDICATES)} predicates; written:", *paths)


if __name__ == "__main__":
    main()
