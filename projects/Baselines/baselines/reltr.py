"""A head after RelTR: coupled subject and object queries, each couple one triplet."""

import math

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from egtr.layers import MLP
from egtr.layers.boxes import inverse_sigmoid
from egtr.modeling import EGTROutput, HungarianMatcher, Target
from egtr.modeling.detection_loss import DetectionLoss, sigmoid_focal_loss
from egtr.modeling.loss_normalizer import loss_normalizer
from egtr.modeling.postprocessing import scale_boxes
from egtr.modeling.target import JoinedMatches, Match, join_matches, join_targets
from egtr.modeling.transformer.geometry import map_geometry, valid_pixels
from egtr.structures import Prediction

from .baseline import Baseline


class TripletBranch(nn.Module):
    """Subject or object half of a layer: attention to the image, attention to detected objects, feed-forward."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int):
        super().__init__()
        self.image = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.entities = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, x: Tensor, position: Tensor, memory: tuple[Tensor, ...], entities: tuple[Tensor, ...]
    ) -> Tensor:
        """Update x (B, T, d); memory is (values, positions, padding mask or None), entities (values, positions)."""
        cells, places, padding = memory
        x = self.norms[0](x + self.image(x + position, cells + places, cells, padding, need_weights=False)[0])
        states, where = entities
        x = self.norms[1](x + self.entities(x + position, states + where, states, need_weights=False)[0])
        return self.norms[2](x + self.feed_forward(x))


class TripletLayer(nn.Module):
    """Attention among all subject and object queries, then a branch for each half."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int):
        super().__init__()
        self.coupled = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.branches = nn.ModuleList(TripletBranch(dim, num_heads, ffn_dim) for _ in range(2))

    def forward(
        self, x: Tensor, position: Tensor, memory: tuple[Tensor, ...], entities: tuple[Tensor, ...]
    ) -> Tensor:
        """Update x (B, 2 * T, d), subjects first; ``position`` (B, 2 * T, d) is the same for both halves."""
        placed = x + position
        x = self.norm(x + self.coupled(placed, placed, x, need_weights=False)[0])
        halves = zip(self.branches, x.chunk(2, 1), position.chunk(2, 1), strict=True)
        return torch.cat([branch(half, place, memory, entities) for branch, half, place in halves], dim=1)


@META_ARCH_REGISTRY.register()
class RelTR(Baseline):
    """Coupled subject and object queries, each couple one triplet; triplets are matched as a whole.

    After Cong et al., "RelTR" (TPAMI 2023). The detector gives the entities. Each end of a couple points to them by
    attention, which gives its class and box, and corrects both. There are two couples for each object query of the
    detector, and as many layers as its decoder has. Needs maps whose sides are those of the
    padded image divided by their strides, such as those of RTDETRTransformer.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        dim, count = self.dim, 2 * cfg.MODEL.EGTR.NUM_QUERIES
        # Subject and object of a couple have contents of their own and share the position, which couples them.
        self.subjects, self.objects, self.couples = (nn.Parameter(torch.randn(1, count, dim)) for _ in range(3))
        self.place = MLP(4, dim, dim, num_layers=2)
        layers = cfg.MODEL.EGTR.TRANSFORMER.DEC_LAYERS
        self.layers = nn.ModuleList(TripletLayer(dim, self.num_heads, self.ffn_dim) for _ in range(layers))
        self.entity_norm = nn.LayerNorm(dim)
        self.pointers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.class_heads = nn.ModuleList(nn.Linear(dim, self.num_classes) for _ in range(2))
        self.box_heads = nn.ModuleList(MLP(dim, dim, 4) for _ in range(2))
        self.predicate_head = MLP(2 * dim, dim, self.num_predicates)
        # At first an end has the class and the box of the entities that it points to.
        for last in (*self.class_heads, *(head.layers[-1] for head in self.box_heads)):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # As focal loss asks, every predicate starts at probability 0.01.
        nn.init.constant_(self.predicate_head.layers[-1].bias, -math.log(99))
        matcher, loss = self.criterion.matcher, cfg.MODEL.EGTR.LOSS
        focal = {"focal_alpha": loss.FOCAL_ALPHA, "focal_gamma": loss.FOCAL_GAMMA}
        self.predicate_matcher = HungarianMatcher(
            cost_class=matcher.cost_class, cost_bbox=0.0, cost_giou=0.0, **focal
        )
        self.end_loss, self.focal = DetectionLoss(class_loss="focal", **focal), (loss.FOCAL_ALPHA, loss.FOCAL_GAMMA)
        weights = self.criterion.weights
        for end in ("subject", "object"):
            weights |= {f"loss_{end}_{name}": weights[f"loss_{name}"] for name in ("ce", "bbox", "giou")}

    def relations(self, output: EGTROutput, images: ImageList) -> dict[str, Tensor]:
        """Compute logits (B, T, C) and boxes (B, T, 4) of both ends, and "predicates", logits (B, T, R)."""
        valid, sides = valid_pixels(images), images.tensor.shape[-2:]
        strides = [shape.stride for shape in self.backbone.output_shape().values()]
        shapes = [tuple(-(-side // stride) for side in sides) for stride in strides]
        geometry = map_geometry(valid, shapes, self.dim, self.device)
        memory = output.memory, torch.cat(geometry.positions, dim=1), geometry.padding_mask
        # Relations read the detected entities, but do not change them.
        logits, boxes = output.logits.detach(), output.pred_boxes.detach()
        entities = self.entity_norm(output.hidden_states[-1].detach()), self.place(boxes)
        size = (len(output.memory), -1, -1)
        x, position = torch.cat([self.subjects, self.objects], dim=1), torch.cat([self.couples, self.couples], dim=1)
        x, position = x.expand(size), position.expand(size)
        for layer in self.layers:
            x = layer(x, position, memory, entities)
        found = {"predicates": self.predicate_head(torch.cat(x.chunk(2, 1), dim=-1))}
        keys = sum(entities).transpose(1, 2) / math.sqrt(self.dim)
        for index, (end, states) in enumerate(zip(("subject", "object"), x.chunk(2, 1), strict=True)):
            attention = (self.pointers[index](states) @ keys).softmax(-1)
            found[f"{end}_logits"] = attention @ logits + self.class_heads[index](states)
            found[f"{end}_boxes"] = (inverse_sigmoid(attention @ boxes) + self.box_heads[index](states)).sigmoid()
        return found

    @torch.no_grad()
    def match(self, found: dict[str, Tensor], targets: list[Target]) -> tuple[list[Match], list[Match]]:
        """Match triplet queries to annotated triplets, by the sum of the costs of subject, object and predicate.

        Returns:
            The matches with the cost and fit of the subject, and the same ones with those of the object; ``objects``
            index the triplets of the image.
        """
        ends = [ends_of(targets, column) for column in (0, 1)]
        parts = [
            self.criterion.matcher.costs_and_fits(found[f"{name}_logits"], found[f"{name}_boxes"], end)
            for name, end in zip(("subject", "object"), ends, strict=True)
        ]
        predicates = [
            Target(target.relations[:, 2], end.boxes, end.relations)
            for target, end in zip(targets, ends[0], strict=True)
        ]
        predicate_costs = self.predicate_matcher.cost_matrix(found["predicates"], found["subject_boxes"], predicates)
        total = parts[0][0] + parts[1][0] + predicate_costs
        total, first = total.nan_to_num(1e9, 1e9, 1e9).cpu().numpy(), 0
        matches: tuple[list[Match], list[Match]] = ([], [])
        for target in targets:
            last = first + len(target.relations)
            queries, rows = (
                torch.as_tensor(x, device=self.device) for x in linear_sum_assignment(total[first:last].T)
            )
            for result, (costs, fits) in zip(matches, parts, strict=True):
                result.append(Match(queries, rows, costs[rows + first, queries], fits[rows + first, queries]))
            first = last
        return matches

    def relation_losses(
        self, output: EGTROutput, found: dict[str, Tensor], targets: list[Target]
    ) -> dict[str, Tensor]:
        """Compute "loss_rel", focal, and "ce", "bbox" and "giou" of both ends, divided by the number of triplets.

        The uncertainty of a triplet comes from its subject and its object, never from its predicate.
        """
        counts = [len(target.relations) for target in targets]
        count = loss_normalizer(sum(counts), self.device, self.criterion.normalizer)
        losses, uncertainty = {}, []
        both = [join_matches(matches, counts) for matches in self.match(found, targets)]
        if self.training:
            self.criterion.observe(JoinedMatches(*map(torch.cat, zip(*both, strict=True))))
        for column, (name, matches) in enumerate(zip(("subject", "object"), both, strict=True)):
            logits, boxes = found[f"{name}_logits"][None], found[f"{name}_boxes"][None]
            sums = self.end_loss(logits, boxes, matches, join_targets(ends_of(targets, column)))
            losses |= {f"loss_{name}_{loss.removeprefix('loss_')}": value[0] / count for loss, value in sums.items()}
            uncertainty.append(self.smoothing(matches.costs, matches.fits))
        matches, logits = both[0], found["predicates"]
        everything = torch.ones_like(matches.objects, dtype=torch.bool)
        smoothed, triplet_weights = self.smoothing.targets(*uncertainty, everything)
        wanted, weights = torch.zeros_like(logits), torch.ones_like(logits)
        predicates = torch.cat([target.relations[:, 2] for target in targets])[matches.objects]
        at = matches.images, matches.queries, predicates
        wanted[at] = smoothed
        if triplet_weights is not None:
            weights[at] = triplet_weights
        losses["loss_rel"] = (sigmoid_focal_loss(logits, wanted, *self.focal) * weights).sum() / count
        return losses

    def prediction(
        self, output: EGTROutput, found: dict[str, Tensor], index: int, size: tuple[int, int]
    ) -> Prediction:
        """Make the record of one image: 2 * T objects, subjects first, and a pair for each triplet query."""
        logits = torch.cat([found["subject_logits"][index], found["object_logits"][index]]).float().cpu().numpy()
        boxes = torch.cat([found["subject_boxes"][index], found["object_boxes"][index]])
        relation = found["predicates"][index].float().sigmoid().cpu().numpy()
        subjects = torch.arange(len(relation))
        pairs = torch.stack([subjects, subjects + len(relation)], dim=1).numpy()
        ones = torch.ones(len(pairs)).numpy()
        return Prediction(logits, scale_boxes(boxes, *size).cpu().numpy(), pairs, ones, relation, size)


def ends_of(targets: list[Target], column: int) -> list[Target]:
    """Make targets whose objects are the subjects (column 0) or the objects (column 1) of the triplets, in order."""
    return [
        Target(target.classes[ends], target.boxes[ends], target.relations[:0])
        for target in targets
        for ends in [target.relations[:, column]]
    ]
