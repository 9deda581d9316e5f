"""A model for tests of the trainer, whose steps cost next to nothing and depend on all that is random in a run.

MODEL.META_ARCHITECTURE "Stub" builds it once this module is imported.
"""

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

STUB = {"MODEL.META_ARCHITECTURE": "Stub"}


@META_ARCH_REGISTRY.register()
class Stub(nn.Module):
    """Losses of a few numbers of each image: its colours, weighted so that mirroring and another size change them."""

    def __init__(self, cfg):
        super().__init__()
        self.backbone = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(cfg.MODEL.EGTR.TRANSFORMER.DROPOUT)
        self.relation = nn.Linear(8, 4)
        self.draws = cfg.MODEL.EGTR.LOSS.NON_SAMPLING == "random"

    def set_relation_statistics(self, counts: torch.Tensor) -> None:
        """It has no use for them."""

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        hidden = self.dropout(self.norm(self.backbone(torch.stack([describe(record["image"]) for record in batch]))))
        relations = self.relation(hidden)
        if self.draws:
            relations = relations * (torch.rand_like(relations) < 0.5)
        return {"loss_ce": hidden.square().mean(), "loss_rel": (relations - 1).square().mean()}


def describe(image: torch.Tensor) -> torch.Tensor:
    """Summarise (3, H, W) pixels: means, and means with weights that rise from left to right; (6,)."""
    pixels = image.float() / 255
    weights = torch.linspace(0, 1, pixels.shape[2])
    return torch.cat([pixels.sum((1, 2)) / 4000, (pixels * weights).mean((1, 2))])
