"""EGTR's network written down formula by formula, with nothing skipped or rearranged.

Tests compare the model with it for equality, and ``benchmarks/contestants.py`` for speed. Deformable
attention reads its points by ``grid_sample``, batch norms are written out, the heads of all decoder layers are
evaluated, and pair features exist as one dense tensor for all pairs and sources. Preprocessing, matching and losses
are the model's own; other tests compare them with recorded and hand-computed values.
"""

import math

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor, nn

from egtr.modeling import EGTR, EGTROutput

from .literal_resnet import resnet


def make_literal(model: EGTR) -> "LiteralEGTR":
    """Make a module that computes what ``model`` does, formula by formula, with the same parameters.

    ``model`` must have a timm ResNet, the deformable transformer and heads of the library, and no auxiliary tasks.
    Parameters and buffers are shared, so their names and gradients are the model's.
    """
    return LiteralEGTR(model)


class LiteralEGTR(nn.Module):
    """See :func:`make_literal`. B images, N queries, S cells of all levels, d width, K relation sources."""

    def __init__(self, model: EGTR):
        super().__init__()
        self.backbone, self.transformer, self.relation = model.backbone, model.transformer, model.relation
        self.criterion, self.aux_loss = model.criterion, model.aux_loss
        self.triplets_per_image, self.object_score = model.triplets_per_image, model.object_score
        self.preprocess_image, self.targets = model.preprocess_image, model._targets
        self.train(model.training)

    def network(self, images: ImageList) -> EGTROutput:
        """Compute the dense output, with logit adjustment in evaluation mode."""
        output = self.unadjusted(images)
        if not self.training and self.relation is not None and self.relation.frequency_bias.tau:
            bias = self.relation.frequency_bias
            output.relation_logits = output.relation_logits - bias.tau * bias.predicate_frequency.clamp(1e-12).log()
        return output

    def losses(self, inputs: list[dict]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute unweighted losses and logged quantities."""
        return self.criterion(self.unadjusted(self.preprocess_image(inputs)), self.targets(inputs))

    def forward(self, inputs: list[dict]) -> dict[str, Tensor] | list[tuple[Tensor, Tensor]]:
        """Return weighted losses in training mode, in evaluation mode the best triplets (:func:`rank`) by image."""
        if self.training:
            return self.criterion.weighted(self.losses(inputs)[0])
        with torch.no_grad():
            output = self.network(self.preprocess_image(inputs))
            return [rank(output, index, self.triplets_per_image, self.object_score) for index in range(len(inputs))]

    def unadjusted(self, images: ImageList) -> EGTROutput:
        """Compute the dense output before logit adjustment."""
        pixels = images.tensor
        valid = torch.zeros(len(pixels), *pixels.shape[-2:], dtype=torch.bool, device=pixels.device)
        for image, (height, width) in enumerate(images.image_sizes):
            valid[image, :height, :width] = True
        encoded = self.encode(self.extract(pixels), valid)
        decoded = self.decode(encoded)
        logits, boxes = decoded["logits"], decoded["boxes"]
        bias = None if self.relation is None else self.relation.frequency_bias
        return EGTROutput(
            logits=logits[-1],
            pred_boxes=boxes[-1],
            **self.relate(decoded),
            hidden_states=decoded["hidden_states"],
            queries=decoded["queries"],
            keys=decoded["keys"],
            memory=encoded["memory"],
            aux_outputs=list(zip(logits, boxes, strict=True))[:-1] if self.aux_loss else [],
            proposals=decoded["proposals"],
            predicate_frequency=None if bias is None else bias.predicate_frequency,
        )

    # The benchmark measures the time of each of these parts.

    def extract(self, pixels: Tensor) -> list[Tensor]:
        return resnet(self.backbone.model, pixels)

    def encode(self, maps: list[Tensor], valid: Tensor) -> dict:
        return encode(self.transformer, maps, valid)

    def decode(self, encoded: dict) -> dict:
        return decode(self.transformer, **encoded)

    def relate(self, decoded: dict) -> dict[str, Tensor | None]:
        if self.relation is None:
            return {"relation_logits": None, "connectivity_logits": None, "gates": None}
        return relate(
            self.relation, decoded["queries"], decoded["keys"], decoded["hidden_states"][-1], decoded["logits"][-1]
        )


# Detector


def encode(t: nn.Module, maps: list[Tensor], valid: Tensor) -> dict:
    """Run the input projections and the encoder of transformer ``t``.

    Args:
        t: the transformer.
        maps: the backbone's maps, finest first.
        valid: (B, H, W) bool, True inside images.

    Returns:
        The arguments of :func:`decode`: "memory" (B, S, d), "masks", valid cells of each level (B, H_l, W_l), and
        "ratios" (B, levels, 2), the valid share of each level's width and height.
    """
    levels = []
    for index, project in enumerate(t.input_proj):
        levels.append(project(maps[index] if index < len(maps) else (maps[-1] if index == len(maps) else levels[-1])))
    shapes = [tuple(level.shape[-2:]) for level in levels]
    masks = [F.interpolate(valid[:, None].float(), size=shape, mode="nearest")[:, 0] > 0 for shape in shapes]
    ratios = torch.stack([torch.stack([m[:, 0].float().mean(1), m[:, :, 0].float().mean(1)], -1) for m in masks], 1)
    cells = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
    position = torch.cat(
        [(sine_embedding(m, t.hidden_dim) + e).flatten(1, 2) for m, e in zip(masks, t.level_embed, strict=True)], 1
    )
    padding = ~torch.cat([mask.flatten(1) for mask in masks], dim=1)

    reference = cell_centres(masks)[:, :, None] * ratios[:, None]
    memory = cells
    for layer in t.encoder.layers:
        attended = deformable_attention(layer.self_attn, memory + position, memory, reference, shapes, padding)
        memory = add_norm(layer, layer.self_attn_norm, memory, attended)
        memory = feed_forward(layer, memory)
    return {"memory": memory, "masks": masks, "ratios": ratios}


def decode(t: nn.Module, memory: Tensor, masks: list[Tensor], ratios: Tensor) -> dict:
    """Run the decoder and the heads of transformer ``t``.

    Returns:
        "logits", "boxes", "hidden_states", "queries" and "keys", lists over the layers; "proposals", (logits, boxes)
        of every cell with two-stage, else None.
    """
    shapes = [tuple(mask.shape[-2:]) for mask in masks]
    padding = ~torch.cat([mask.flatten(1) for mask in masks], dim=1)
    proposals = None
    if t.two_stage is None:
        query_position, x = t.query_embed.weight[None].expand(len(memory), -1, -1).chunk(2, dim=-1)
        reference = t.reference_points(query_position).sigmoid()
    else:
        x, query_position, reference, proposals = two_stage(t, memory, masks, padding)
    found = {"logits": [], "boxes": [], "hidden_states": [], "queries": [], "keys": []}
    for index, layer in enumerate(t.decoder.layers):
        attended, queries, keys = self_attention(layer.self_attn, x, query_position)
        x = add_norm(layer, layer.self_attn_norm, x, attended)
        points = reference[:, :, None] * ratios.repeat(1, 1, reference.shape[-1] // 2)[:, None]
        attended = deformable_attention(layer.cross_attn, x + query_position, memory, points, shapes, padding)
        x = add_norm(layer, layer.cross_attn_norm, x, attended)
        x = feed_forward(layer, x)
        head = index if t.with_box_refine else 0
        boxes = move(reference, perceptron(t.box_heads[head], x))
        logits = t.class_heads[head](x)
        for name, value in zip(found, (logits, boxes, x, queries, keys), strict=True):
            found[name].append(value)
        if t.with_box_refine:
            reference = boxes.detach()
    return found | {"proposals": proposals}


def two_stage(t: nn.Module, memory: Tensor, masks: list[Tensor], padding: Tensor) -> tuple:
    """Make queries of the N best cells: content (B, N, d), position (B, N, d), reference (B, N, 4); all proposals."""
    sides = [torch.full_like(m.flatten(1).float(), 0.05 * 2.0**level) for level, m in enumerate(masks)]
    side = torch.cat(sides, dim=1)[..., None]
    boxes = torch.cat([cell_centres(masks), side, side], dim=-1)
    unusable = (((boxes <= 0.01) | (boxes >= 0.99)).any(-1) | padding)[..., None]
    anchors = (boxes / (1 - boxes)).log().masked_fill(unusable, math.inf)
    hidden = t.two_stage.memory_norm(t.two_stage.memory_proj(memory.masked_fill(unusable, 0.0)))
    logits, coordinates = t.class_heads[-1](hidden), perceptron(t.box_heads[-1], hidden) + anchors
    best = logits[..., 0].topk(t.two_stage.num_queries, dim=1).indices
    reference = torch.stack([c[b] for c, b in zip(coordinates, best, strict=True)]).detach().sigmoid()
    embedding = torch.cat([sine(c * 2 * math.pi, t.hidden_dim // 2) for c in reference.unbind(-1)], dim=-1)
    position, content = t.two_stage.query_norm(t.two_stage.query_proj(embedding)).chunk(2, dim=-1)
    return content, position, reference, (logits, coordinates.sigmoid())


def sine(angles: Tensor, width: int) -> Tensor:
    """Map (...) to (..., width): sine and cosine in turn, temperature 10,000."""
    wavelengths = 10000.0 ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = angles[..., None] / wavelengths.to(angles.device)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def sine_embedding(mask: Tensor, width: int) -> Tensor:
    """Embed the positions of valid cells, (B, H, W) bool to (B, H, W, width), y before x."""
    y, x = mask.float().cumsum(1), mask.float().cumsum(2)
    y = (y - 0.5) / (y[:, -1:] + 1e-6) * 2 * math.pi
    x = (x - 0.5) / (x[:, :, -1:] + 1e-6) * 2 * math.pi
    return torch.cat([sine(y, width // 2), sine(x, width // 2)], dim=-1)


def cell_centres(masks: list[Tensor]) -> Tensor:
    """Compute x and y of each cell's centre as shares of the valid part of its level, (B, S, 2)."""
    centres = []
    for mask in masks:
        _, height, width = mask.shape
        y = torch.arange(height, device=mask.device)[:, None].expand(height, width) + 0.5
        x = torch.arange(width, device=mask.device)[None].expand(height, width) + 0.5
        size = torch.stack([mask[:, 0].sum(1), mask[:, :, 0].sum(1)], dim=-1)
        centres.append((torch.stack([x, y], dim=-1)[None] / size[:, None, None]).flatten(1, 2))
    return torch.cat(centres, dim=1)


def deformable_attention(
    attention: nn.Module, query: Tensor, value: Tensor, reference: Tensor, shapes: list, padding: Tensor
) -> Tensor:
    """Attend by multi-scale deformable attention, (B, Q, d).

    Args:
        attention: the module with the parameters.
        query: (B, Q, d), position added.
        value: (B, S, d).
        reference: (B, Q, levels, 2 or 4), already multiplied by the valid ratios.
        shapes: (height, width) of each level.
        padding: (B, S) bool, True outside images.
    """
    batch, queries, width = query.shape
    heads, points = attention.num_heads, attention.num_points
    value = attention.value_proj(value).masked_fill(padding[..., None], 0.0).unflatten(-1, (heads, -1))
    offsets = attention.sampling_offsets(query).view(batch, queries, heads, len(shapes), points, 2)
    weights = attention.attention_weights(query).view(batch, queries, heads, -1).softmax(-1)
    total, start = 0, 0
    for level, (height, width_) in enumerate(shapes):
        at = reference[:, :, level]
        if reference.shape[-1] == 2:
            locations = at[:, :, None, None] + offsets[:, :, :, level] / offsets.new_tensor([width_, height])
        else:
            locations = at[:, :, None, None, :2] + offsets[:, :, :, level] / points * at[:, :, None, None, 2:] * 0.5
        cells = value[:, start : start + height * width_]  # (B, H * W, heads, d / heads)
        start += height * width_
        feature = cells.permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width_)
        grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B * heads, Q, points, 2)
        sampled = F.grid_sample(feature, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        weight = weights.unflatten(-1, (len(shapes), points))[:, :, :, level].transpose(1, 2).flatten(0, 1)
        total = total + (sampled * weight[:, None]).sum(-1)  # (B * heads, d / heads, Q)
    return attention.output_proj(total.view(batch, width, queries).transpose(1, 2))


def self_attention(attention: nn.Module, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute softmax(q k / sqrt(d_head)) v; also return the queries (not scaled) and keys, (B, N, d)."""
    queries, keys, values = attention.q_proj(x + position), attention.k_proj(x + position), attention.v_proj(x)
    q, k, v = (y.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for y in (queries, keys, values))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2)), queries, keys


def add_norm(layer: nn.Module, layer_norm: nn.Module, x: Tensor, added: Tensor) -> Tensor:
    return layer_norm(x + F.dropout(added, layer.dropout.p, layer.training))


def feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    return add_norm(layer, layer.ffn_norm, x, layer.linear2(F.relu(layer.linear1(x))))


def perceptron(mlp: nn.Module, x: Tensor) -> Tensor:
    for layer in mlp.layers[:-1]:
        x = F.relu(layer(x))
    return mlp.layers[-1](x)


def move(reference: Tensor, delta: Tensor) -> Tensor:
    """Compute sigmoid(delta + inverse_sigmoid(reference)); a reference of 2 coordinates moves only x and y."""
    anchor = (reference.clamp(min=1e-5) / (1 - reference).clamp(min=1e-5)).log()
    return (delta + F.pad(anchor, (0, 4 - reference.shape[-1]))).sigmoid()


# Relations


def pair_features(source: nn.Module, queries: list[Tensor], keys: list[Tensor], hidden: Tensor) -> tuple:
    """Compute R (B, N, N, D), subject first, and the gates (B, K, N, N) or None."""
    subjects = [project(queries[layer]) for project, layer in zip(source.query_proj, source.layers, strict=True)]
    objects = [project(keys[layer]) for project, layer in zip(source.key_proj, source.layers, strict=True)]
    if source.last_hidden_state:
        subjects.append(source.subject_proj(hidden))
        objects.append(source.object_proj(hidden))
    q, k = torch.stack(subjects, dim=2)[:, :, None], torch.stack(objects, dim=2)[:, None]  # (B, N, 1 | 1, N, K, d)
    q, k = torch.broadcast_tensors(q, k)
    combine = {
        "ConcatPairs": lambda: torch.cat([q, k], dim=-1),
        "SumPairs": lambda: q + k,
        "HadamardPairs": lambda: q * k,
        "DotProductPairs": lambda: (q * k).sum(-1, keepdim=True) / math.sqrt(q.shape[-1]),
    }
    pairs = combine[source.pairs.__name__]()  # (B, N, N, K, D)
    if source.gate is None:
        return pairs.sum(3), None
    gates = source.gate(pairs).sigmoid()  # (B, N, N, K, 1)
    return (gates * pairs).sum(3), gates[..., 0].permute(0, 3, 1, 2)


def relate(part: nn.Module, queries: list[Tensor], keys: list[Tensor], hidden: Tensor, logits: Tensor) -> dict:
    """Compute relation logits with frequency bias (B, N, N, R), connectivity logits (B, N, N), gates (B, K, N, N).

    Args:
        part: the relation part with the parameters.
        queries, keys: for each decoder layer (B, N, d).
        hidden: (B, N, d), last hidden state.
        logits: (B, N, C), class logits.
    """
    pairs, gates = pair_features(part.source, queries, keys, hidden)
    relation = perceptron(part.relation_head.mlp, pairs)
    if part.frequency_bias.kind != "none":
        classes = logits.argmax(-1)
        relation = relation + part.frequency_bias.table[classes[:, :, None], classes[:, None]]
    connectivity = None
    if part.connectivity_head is not None:
        connectivity = perceptron(part.connectivity_head.mlp, pairs)[..., 0]
    return {"relation_logits": relation, "connectivity_logits": connectivity, "gates": gates}


def rank(
    output: EGTROutput, index: int, top_k: int, object_score: str, graph_constraint: bool = True
) -> tuple[Tensor, Tensor]:
    """Rank the best triplets of one image: (K, 3) subject, object, predicate, and (K,) scores; ties in that order.

    With graph constraint each pair enters only with its best predicate.
    """
    logits = output.logits[index]
    objects = (logits.softmax(-1) if object_score == "softmax" else logits.sigmoid()).max(-1).values
    scores = output.relation_logits[index].sigmoid()
    predicates = torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape)
    if graph_constraint:
        scores, predicates = scores.max(-1, keepdim=True)
    if output.connectivity_logits is not None:
        scores = scores * output.connectivity_logits[index].sigmoid()[..., None]
    scores = scores * objects[:, None, None] * objects[:, None]
    scores.diagonal()[:] = -1.0
    count, _, per_pair = scores.shape
    best = scores.flatten().argsort(descending=True, stable=True)[: min(top_k, count * (count - 1) * per_pair)]
    pairs = best // per_pair
    triplets = torch.stack([pairs // count, pairs % count, predicates.flatten()[best]], dim=1)
    return triplets, scores.flatten()[best]
