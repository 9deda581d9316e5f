"""Cases recorded from the released implementation: rebuild a model and its inputs from names and a rule."""

import importlib.util
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from egtr.checkpoint import config_from_reference, convert_state_dict
from egtr.layers import box_cxcywh_to_xyxy

FOLDER = Path(__file__).parent / "golden"
SMALL = [
    "small",
    "small_no_freq_bias",
    "small_logit_adjustment",
    "small_box_refine",
    "small_two_stage",
    "small_smoothing",
    "small_empty_relations",
    "small_full_config",
]
SMALL_RTDETR = ["rtdetr_small", "rtdetr_wide", "rtdetr_empty_relations", "rtdetr_eval_early"]

_spec = importlib.util.spec_from_file_location("golden_rule", FOLDER / "rule.py")
rule = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rule)


@lru_cache(maxsize=1024)
def _weight(source: str, shape: tuple[int, ...], salt: str) -> torch.Tensor:
    # Cases share most of their weights, and drawing them takes longer than a forward pass.
    if source == "1/points":
        return torch.full(shape, 0.25)
    return torch.as_tensor(np.asarray(rule.fill(source, shape, salt)))


class GoldenCase:
    """One case: ``record`` (the JSON), ``arrays`` (the npz), ``model`` with its weights, ``inputs``."""

    def __init__(self, name: str):
        self.record = json.loads((FOLDER / f"{name}.json").read_text())
        if "image_case" in self.record:
            # Only the configuration differs from that case.
            name = self.record["image_case"]
            self.record = json.loads((FOLDER / f"{name}.json").read_text()) | self.record
        self.arrays = dict(np.load(FOLDER / f"{name}.npz"))
        salt = self.record["salt"]
        rows = self.record["state_dict"]
        self.reference_state_dict = {name: _weight(source, tuple(shape), salt) for name, shape, source in rows}
        self.cfg = config_from_reference(self.record["config"])
        self.cfg.MODEL.DEVICE = "cpu"
        weights = convert_state_dict(self.reference_state_dict)
        # FROSS does not write this number.
        self.cfg.MODEL.EGTR.NUM_CLASSES = len(weights["transformer.class_heads.0.bias"])
        self.model = build_model(self.cfg)
        self.model.load_state_dict(weights, strict=True)
        self.inputs = [self._input(name, i, *size) for i, size in enumerate(self.record["image_sizes"])]

    def _input(self, name: str, index: int, height: int, width: int) -> dict:
        image = rule.image(f"{name}:{index}", height, width, self.record["salt"])
        boxes = torch.as_tensor(self.arrays[f"gt{index}_boxes"])
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(box_cxcywh_to_xyxy(boxes) * torch.tensor([width, height, width, height]))
        instances.gt_classes = torch.as_tensor(self.arrays[f"gt{index}_labels"])
        return {
            "image": torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "height": height,
            "width": width,
            "instances": instances,
            "relations": torch.as_tensor(self.arrays[f"gt{index}_triplets"]).reshape(-1, 3),
        }
