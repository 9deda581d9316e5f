"""A small EGTR for tests, and batches for it."""

import copy

import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from egtr import get_egtr_cfg
from egtr.hub.model_zoo import get_config_file

SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.FREEZE_AT", 0,
    "MODEL.EGTR.NUM_CLASSES", 5, "MODEL.EGTR.NUM_PREDICATES", 4, "MODEL.EGTR.NUM_QUERIES", 6,
    "MODEL.EGTR.BACKBONE.NAME", "resnet10t", "MODEL.EGTR.BACKBONE.CHANNELS", [8, 8, 8, 16],
    "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM", 64, "MODEL.EGTR.TRANSFORMER.NHEADS", 4,
    "MODEL.EGTR.TRANSFORMER.ENC_LAYERS", 1, "MODEL.EGTR.TRANSFORMER.DEC_LAYERS", 2,
    "MODEL.EGTR.TRANSFORMER.ENC_FFN_DIM", 32, "MODEL.EGTR.TRANSFORMER.DEC_FFN_DIM", 32,
    "MODEL.EGTR.TRANSFORMER.DROPOUT", 0.0,
]  # fmt: skip


def small_cfg(*options):
    """Configuration of the small model; ``options`` are further keys and values."""
    cfg = get_egtr_cfg()
    cfg.merge_from_file(get_config_file("Base-EGTR.yaml"))
    cfg.merge_from_list([*SMALL, *options])
    return cfg


_built = {}


def small_model(*options):
    """Build the small model, seeded. Building it takes longer than a copy, so each kind is built once."""
    key = repr(options)
    if key not in _built:
        torch.manual_seed(0)
        model = build_model(small_cfg(*options))
        _built[key] = model, torch.get_rng_state()
    model, random_state = _built[key]
    # Tests draw their images after the model.
    torch.set_rng_state(random_state)
    return copy.deepcopy(model)


def image(
    height=48,
    width=64,
    boxes=((4, 4, 24, 30), (20, 10, 60, 40), (30, 5, 50, 25)),
    classes=(0, 1, 2),
    relations=((0, 1, 0), (1, 2, 3)),
):
    """One input dict, pixels drawn from the global generator."""
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return {
        "image": torch.randint(0, 256, (3, height, width), dtype=torch.uint8),
        "height": height,
        "width": width,
        "instances": instances,
        "relations": torch.tensor(relations, dtype=torch.int64).reshape(-1, 3),
    }
