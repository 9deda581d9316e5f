"""Encoder proposals in place of learned queries (Deformable DETR, appendix A.4)."""

import torch
from torch import Tensor, nn

from egtr.layers import sine_box_embedding
from egtr.layers.spatial_shapes import SpatialShapes
from egtr.structures import ConfigurationError


def grid_proposals(spatial_shapes: SpatialShapes, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Make one box for each cell of each level, in inverse-sigmoid space.

    Args:
        spatial_shapes: (height, width) of the levels.
        valid: (B, S) bool, False at padding.

    Returns:
        proposals (B, S, 4): centre (x + 0.5, y + 0.5) / valid size, side 0.05 * 2^level; infinity if the cell is
        padding or any coordinate lies outside (0.01, 0.99). usable (B, S) bool: the cells with finite proposals.
    """
    boxes = []
    for level, ((height, width), cells) in enumerate(
        zip(spatial_shapes, valid.split([h * w for h, w in spatial_shapes], dim=1), strict=True)
    ):
        cells = cells.view(-1, height, width)
        size = torch.stack([cells[:, 0].sum(-1), cells[:, :, 0].sum(-1)], dim=-1)[:, None, None]  # (B, 1, 1, 2)
        y, x = torch.meshgrid(
            torch.arange(height, device=valid.device) + 0.5,
            torch.arange(width, device=valid.device) + 0.5,
            indexing="ij",
        )
        centre = torch.stack([x, y], dim=-1)[None] / size
        boxes.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2.0**level)], dim=-1).flatten(1, 2))
    boxes = torch.cat(boxes, dim=1)
    usable = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & valid
    proposals = torch.log(boxes / (1 - boxes))
    return proposals.masked_fill(~usable[..., None], float("inf")), usable


def best_proposals(scores: Tensor, num_queries: int) -> Tensor:
    """Choose the proposals of the highest scores: (B, S) to (B, N) indices, best first.

    Raises:
        ConfigurationError: there are fewer proposals than queries.
    """
    if scores.shape[1] < num_queries:
        raise ConfigurationError(
            f"MODEL.EGTR.NUM_QUERIES is {num_queries}, but images of this size give only {scores.shape[1]} "
            "proposals: enlarge INPUT.MIN_SIZE_* or ask for fewer queries"
        )
    return scores.topk(num_queries, dim=1).indices


class TwoStage(nn.Module):
    """Scores and refines the proposals, and makes decoder queries from the best ones.

    Args:
        dim: width d.
        num_queries: number N of proposals to keep.
    """

    def __init__(self, dim: int, num_queries: int):
        super().__init__()
        self.num_queries = num_queries
        self.memory_proj = nn.Linear(dim, dim)
        self.memory_norm = nn.LayerNorm(dim)
        self.query_proj = nn.Linear(2 * dim, 2 * dim)
        self.query_norm = nn.LayerNorm(2 * dim)

    def forward(
        self,
        memory: Tensor,
        spatial_shapes: SpatialShapes,
        padding_mask: Tensor | None,
        class_head: nn.Module,
        box_head: nn.Module,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Choose the proposals that become queries.

        Args:
            memory: (B, S, d) encoded cells.
            spatial_shapes: (height, width) of the levels.
            padding_mask: (B, S) bool, True at padding; None if there is no padding.
            class_head, box_head: the heads that score and refine proposals.

        Returns:
            content (B, N, d), position (B, N, d) and reference boxes (B, N, 4) of the queries; logits (B, S, C) and
            boxes (B, S, 4) cxcywh of every proposal, for their own loss.

        Raises:
            ConfigurationError: there are fewer cells than queries.
        """
        valid = memory.new_ones(1, memory.shape[1], dtype=torch.bool) if padding_mask is None else ~padding_mask
        proposals, usable = grid_proposals(spatial_shapes, valid)
        memory = self.memory_norm(self.memory_proj(memory.masked_fill(~usable[..., None], 0.0)))
        logits = class_head(memory)
        coordinates = box_head(memory).float() + proposals
        # Proposals have no classes: in their loss every object has class 0.
        best = best_proposals(logits[..., 0], self.num_queries)
        reference = coordinates.gather(1, best[..., None].expand(-1, -1, 4)).detach().sigmoid()
        position, content = self.embed(reference)
        return content, position, reference, logits, coordinates.sigmoid()

    def embed(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Make position half and content half (B, N, d) of queries from boxes (B, N, 4), cxcywh in 0..1."""
        # Boxes are in float32, whatever the precision of the weights.
        embedded = sine_box_embedding(boxes, self.query_proj.in_features).to(self.query_proj.weight.dtype)
        queries = self.query_norm(self.query_proj(embedded))
        position, content = queries.chunk(2, dim=-1)
        return position, content
