"""Tiny things for tests: a dataset on disk, and a run whose model has some ten thousand parameters."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class TinyDataset:
    """A dataset on disk, registered by the names ``train``, ``val`` and ``test``."""

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
    """Draw coloured rectangles and write them with relations; return the class and predicate names.

    Every image of (height, width) ``size`` has two to four objects, a colour per class, and one to three
    relations without duplicates. Splits train, val and test differ and have ``num_images`` images each.
    """
    # Here, since tests of egtr.lite run where there is no OpenCV.
    import cv2

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


# Keys and values of the smallest run. The fixture `tiny_options` adds the dataset.
TINY = {
    "MODEL.META_ARCHITECTURE": "EGTR",
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.BACKBONE.NAME": "build_timm_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.EGTR.BACKBONE.NAME": "resnet18",
    "MODEL.EGTR.BACKBONE.CHANNELS": [8, 8, 8, 16],
    "MODEL.EGTR.BACKBONE.OUT_INDICES": [3, 4],
    "MODEL.EGTR.BACKBONE.NORM": "BN",
    "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM": 32,
    "MODEL.EGTR.TRANSFORMER.NHEADS": 2,
    "MODEL.EGTR.TRANSFORMER.ENC_LAYERS": 1,
    "MODEL.EGTR.TRANSFORMER.DEC_LAYERS": 1,
    "MODEL.EGTR.TRANSFORMER.ENC_FFN_DIM": 16,
    "MODEL.EGTR.TRANSFORMER.DEC_FFN_DIM": 16,
    "MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS": 2,
    "MODEL.EGTR.TRANSFORMER.DROPOUT": 0.0,
    "MODEL.EGTR.NUM_CLASSES": 5,
    "MODEL.EGTR.NUM_PREDICATES": 4,
    "MODEL.EGTR.NUM_QUERIES": 8,
    "INPUT.MIN_SIZE_TRAIN": (48,),
    "INPUT.MAX_SIZE_TRAIN": 64,
    "INPUT.MIN_SIZE_TEST": 48,
    "INPUT.MAX_SIZE_TEST": 64,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.NEW_MULTIPLIER": 4.0,
    "SOLVER.STEPS": (3,),
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.CHECKPOINT_PERIOD": 1000,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 0.1,
    "TEST.SCENE_GRAPH.TOPK": [20, 50],
    # Drawing takes longer than such a run.
    "TEST.SCENE_GRAPH.VIS_IMAGES": 0,
    "SEED": 0,
}
