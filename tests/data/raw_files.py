"""Annotation files of every format, written without the library's writers.

A scene is a dict with ``id``, ``objects``, a list of (x1, y1, x2, y2, class, crowd), and ``relations``, a list of
(subject, object, predicate), all 0-based. Images are 1024 x 512, so that the h5 file's scale is that of pixels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HEIGHT, WIDTH = 512, 1024
CLASSES = ("cat", "dog", "tree", "house", "boat", "kite")
PREDICATES = ("on", "near", "under")
# Ids with gaps and out of order, which say nothing of the 0-based numbers: entry k is the id of class k.
CATEGORY_IDS = (3, 5, 9, 40, 41, 99)
PREDICATE_IDS = (2, 7, 8)

SCENES = [
    {"id": 4, "objects": [(0, 0, 20, 20, 2, False), (10, 10, 30, 30, 5, False)], "relations": [(1, 0, 2)]},
    {"id": 3, "objects": [(2, 2, 8, 8, 1, False)], "relations": []},
]


def write_json(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def _coco(scenes: Sequence[dict], ids: list[int]) -> dict[str, Any]:
    """COCO's part, with the annotations of all scenes taken in turns: the first of each, then the second, ..."""
    objects = [(k, scene["id"], entry) for scene in scenes for k, entry in enumerate(scene["objects"])]
    annotations = [
        {
            "id": number,
            "image_id": image_id,
            "category_id": CATEGORY_IDS[label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": int(crowd),
        }
        for number, (_, image_id, (x1, y1, x2, y2, label, crowd)) in zip(ids, objects, strict=True)
    ]
    turns = sorted(range(len(objects)), key=lambda k: objects[k][0])
    names = zip(CATEGORY_IDS, CLASSES, strict=True)
    return {
        "images": [{"id": s["id"], "file_name": f"{s['id']}.jpg", "height": HEIGHT, "width": WIDTH} for s in scenes],
        "annotations": [annotations[k] for k in turns],
        "categories": [{"id": number, "name": name} for number, name in reversed(list(names))],
    }


def write_egtr(root: Path, scenes: Sequence[dict]) -> str:
    number = sum(len(scene["objects"]) for scene in scenes)
    relations = {str(s["id"]): [[a, b, p + 1] for a, b, p in s["relations"]] for s in scenes}
    write_json(root / "rel.json", {"train": relations, "rel_categories": ["__background__", *PREDICATES]})
    return write_json(root / "train.json", _coco(scenes, list(range(number))))


def write_coco_sg(root: Path, scenes: Sequence[dict]) -> str:
    number = sum(len(scene["objects"]) for scene in scenes)
    ids = [7 + 3 * (number - k) for k in range(number)]
    content = _coco(scenes, ids)
    rows, first = [], 0
    for scene in scenes:
        own = ids[first : first + len(scene["objects"])]
        first += len(own)
        rows += [
            {"image_id": scene["id"], "subject_id": own[a], "object_id": own[b], "predicate_id": PREDICATE_IDS[p]}
            for a, b, p in scene["relations"]
        ]
    content["rel_annotations"] = [{"id": 100 - k, **row} for k, row in enumerate(rows)]
    content["rel_categories"] = [
        {"id": number, "name": name} for number, name in reversed(list(zip(PREDICATE_IDS, PREDICATES, strict=True)))
    ]
    return write_json(root / "train.json", content)


def write_oiv6(root: Path, scenes: Sequence[dict]) -> str:
    write_json(root / "categories_dict.json", {"obj": CLASSES, "rel": PREDICATES})
    content = [
        {
            "img_fn": f"{scene['id']:08x}",
            "img_size": [WIDTH, HEIGHT],
            "bbox": [entry[:4] for entry in scene["objects"]],
            "det_labels": [entry[4] for entry in scene["objects"]],
            "rel": scene["relations"],
        }
        for scene in scenes
    ]
    return write_json(root / "vrd-train-anno.json", content)


def write_psg(root: Path, scenes: Sequence[dict]) -> str:
    data = [
        {
            "image_id": str(scene["id"]),
            "file_name": f"train2017/{scene['id']:012d}.jpg",
            "height": HEIGHT,
            "width": WIDTH,
            "segments_info": [],
            "annotations": [{"bbox": entry[:4], "category_id": entry[4]} for entry in scene["objects"]],
            "relations": scene["relations"],
        }
        for scene in scenes
    ]
    content = {"data": data, "thing_classes": CLASSES[:4], "stuff_classes": CLASSES[4:]}
    content |= {"predicate_classes": PREDICATES, "test_image_ids": []}
    return write_json(root / "psg.json", content)


def write_vg_h5(root: Path, scenes: Sequence[dict], splits: Sequence[int] | None = None) -> str:
    root.mkdir(parents=True, exist_ok=True)
    image_data = [{"image_id": s["id"], "height": HEIGHT, "width": WIDTH, "coco_id": None} for s in scenes]
    write_json(root / "image_data.json", image_data)
    dicts = {
        "idx_to_label": {str(k): name for k, name in enumerate(CLASSES, 1)},
        "idx_to_predicate": {str(k): name for k, name in enumerate(PREDICATES, 1)},
        "object_count": {},
    }
    write_json(root / "VG-SGG-dicts.json", dicts)
    boxes, labels, pairs, predicates = [], [], [], []
    ranges: dict[str, list[int]] = {
        f"img_to_{end}_{what}": [] for what in ("box", "rel") for end in ("first", "last")
    }
    for scene in scenes:
        first, first_rel = len(boxes), len(pairs)
        boxes += [[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1] for x1, y1, x2, y2, *_ in scene["objects"]]
        labels += [[entry[4] + 1] for entry in scene["objects"]]
        pairs += [[a + first, b + first] for a, b, _ in scene["relations"]]
        predicates += [[p + 1] for *_, p in scene["relations"]]
        for what, start, rows in (("box", first, boxes), ("rel", first_rel, pairs)):
            ranges[f"img_to_first_{what}"].append(start if len(rows) > start else -1)
            ranges[f"img_to_last_{what}"].append(len(rows) - 1 if len(rows) > start else -1)
    path = root / "VG-SGG.h5"
    with h5py.File(path, "w") as file:
        file["split"] = np.array([0] * len(scenes) if splits is None else splits, dtype=np.int32)
        file["boxes_1024"] = np.array(boxes, dtype=np.int32).reshape(-1, 4)
        file["labels"] = np.array(labels, dtype=np.int32).reshape(-1, 1)
        file["relationships"] = np.array(pairs, dtype=np.int32).reshape(-1, 2)
        file["predicates"] = np.array(predicates, dtype=np.int32).reshape(-1, 1)
        for name, numbers in ranges.items():
            file[name] = np.array(numbers, dtype=np.int32)
    return str(path)


WRITERS = {
    "egtr": write_egtr,
    "vg_h5": write_vg_h5,
    "oiv6": write_oiv6,
    "psg": write_psg,
    "coco_sg": write_coco_sg,
}
