"""A model and its inputs, to measure."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

import egtr
from egtr.config import get_egtr_cfg, without_pretrained

from .choices import SMALL

# Number of objects in a training image: a few more than Visual Genome has on average.
OBJECTS, RELATIONS = 12, 8


@dataclass(frozen=True)
class Case:
    """A model and its inputs. It can be sent to another process.

    Attributes:
        config: the configuration, as YAML.
        height, width: size of the images that the network gets, in pixels.
        batch: number of images B.
    """

    config: str
    height: int
    width: int
    batch: int = 1

    @classmethod
    def from_config(cls, cfg: CfgNode, height: int, width: int, batch: int = 1) -> "Case":
        """Make a case of a loaded configuration; see the class for the arguments."""
        return cls(without_pretrained(cfg).dump(), height, width, batch)

    def cfg(self) -> CfgNode:
        """Return the configuration, as a copy that may be changed."""
        return _load(self.config).clone()

    def with_opts(self, *opts: Any) -> "Case":
        """Return the same case with other values of some configuration keys (keys and values in turn)."""
        cfg = self.cfg()
        cfg.merge_from_list(list(opts))
        return replace(self, config=cfg.dump())

    def build_model(self, *opts: Any) -> nn.Module:
        """Build the model, with the same random weights each time; ``opts`` as in :meth:`with_opts`."""
        egtr.register()
        cfg = self.cfg()
        cfg.merge_from_list(list(opts))
        torch.manual_seed(0)
        return build_model(cfg)

    def images(self, small: bool = False) -> list[dict]:
        """Draw a batch of noise with annotations: the same each time.

        Args:
            small: one image of side SMALL instead of the batch.
        """
        height, width = (SMALL, SMALL) if small else (self.height, self.width)
        model = self.cfg().MODEL.EGTR
        generator = torch.Generator().manual_seed(0)
        batch = []
        for _ in range(1 if small else self.batch):
            corners = torch.rand(OBJECTS, 2, 2, generator=generator).sort(dim=1).values
            corners[:, 1] += 0.01  # no box is empty
            instances = Instances((height, width))
            instances.gt_boxes = Boxes((corners / 1.01 * torch.tensor([width, height])).flatten(1))
            instances.gt_classes = torch.randint(model.NUM_CLASSES, (OBJECTS,), generator=generator)
            pairs = torch.randperm(OBJECTS * (OBJECTS - 1), generator=generator)[:RELATIONS]
            subjects, objects = pairs // (OBJECTS - 1), pairs % (OBJECTS - 1)
            objects = objects + (objects >= subjects)
            predicates = torch.randint(model.NUM_PREDICATES, (RELATIONS,), generator=generator)
            pixels = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
            relations = torch.stack([subjects, objects, predicates], dim=1)
            batch.append(
                {"image": pixels, "height": height, "width": width, "instances": instances, "relations": relations}
            )
        return batch


@cache
def _load(config: str) -> CfgNode:
    cfg = get_egtr_cfg()
    cfg.merge_from_other_cfg(CfgNode.load_cfg(config))
    return cfg


def draw_queries(case: Case, device: torch.device, num_queries: int, gradient: bool = False) -> tuple:
    """Draw the output of a decoder of L layers for N queries of B images: the same each time.

    Returns:
        queries and keys, L tensors (B, N, d) each, and hidden states (B, N, d), which all require gradients if
        ``gradient`` is set; class logits (B, N, C).
    """
    model = case.cfg().MODEL.EGTR
    generator = torch.Generator().manual_seed(0)

    def draw(width: int) -> torch.Tensor:
        drawn = torch.randn(case.batch, num_queries, width, generator=generator)
        return drawn.to(device).requires_grad_(gradient)

    layers, width = model.TRANSFORMER.DEC_LAYERS, model.TRANSFORMER.HIDDEN_DIM
    queries, keys = ([draw(width) for _ in range(layers)] for _ in range(2))
    return queries, keys, draw(width), draw(model.NUM_CLASSES).detach()
