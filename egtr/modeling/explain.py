"""Explanations of single relations: the parts of their logits, and where the decoder looked (paper, section 3.2).

Training and prediction do not use this module. An explanation runs the model once more on one image.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.evaluation.evaluator import inference_context
from detectron2.structures import ImageList
from torch import Tensor, nn

from egtr.layers import MultiScaleDeformableAttention, QueryKeySelfAttention
from egtr.structures import ConfigurationError, EdgeExplanation, ExplainedObject, PredictionError
from egtr.structures.prediction import object_scores

from .egtr import EGTR
from .outputs import EGTROutput
from .postprocessing import scale_boxes


def attention_weights(queries: Sequence[Tensor], keys: Sequence[Tensor], num_heads: int) -> Tensor:
    """Compute the weights of self-attention from its by-products.

    Args:
        queries: for each of L layers (M, d), heads joined, not scaled by 1/sqrt(d_head); of all queries or M of them.
        keys: for each of L layers (N, d), of all queries.
        num_heads: H.

    Returns:
        (L, H, M, N) float32: [l, h, i, j] is the weight that query i gives to query j; the last axis sums to 1.
    """

    def heads(tensors: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(tensors)).float()
        return stacked.unflatten(-1, (num_heads, -1)).transpose(1, 2)

    split = heads(queries)
    return (split @ heads(keys).transpose(-1, -2) / math.sqrt(split.shape[-1])).softmax(-1)


def source_names(model: EGTR) -> list[str]:
    """Name the S relation sources in evaluation, in the order of the gates; none without a relation part."""
    if model.relation is None:
        return []
    source = model.relation.source
    ran = getattr(model.transformer, "num_eval_layers", math.inf)
    return [f"layer {layer}" for layer in source.layers if layer < ran] + ["last state"] * source.last_hidden_state


def explain_triplets(
    model: EGTR,
    record: dict[str, Any],
    triplets: Sequence[tuple[int, int, int]] | np.ndarray,
    class_names: Sequence[str] | None = None,
    predicate_names: Sequence[str] | None = None,
) -> list[EdgeExplanation]:
    """Explain triplets of one image by one forward pass.

    Args:
        model: runs in evaluation mode, and returns to its own mode.
        record: the image as the model takes it: "image", and "height" and "width" of the image that boxes and points
            refer to.
        triplets: E rows of subject query, object query and predicate.
        class_names, predicate_names: None: the model's own.

    Returns:
        E explanations. Sampling points are None if the output comes from a DETECTOR_CACHE.

    Raises:
        ConfigurationError: the model has no relation part, or its decoder has no
            :class:`~egtr.layers.QueryKeySelfAttention`.
        PredictionError: a triplet does not exist.
    """
    if model.relation is None:
        raise ConfigurationError(
            "MODEL.EGTR.RELATION.ENABLED is False: the model finds no relations, so none can be explained"
        )
    # Contributions are gradients, which inference mode forbids even under enable_grad.
    with torch.inference_mode(False), inference_context(model), torch.no_grad():
        with _cross_attention_calls(model) as calls:
            images = model.preprocess_image([record])
            output = model.network(images)
        rows = _check_triplets(triplets, output)
        shares = _logit_shares(model, output, rows)
        attention, attention_back = _attention(model, output, rows)
        image = _Image(model, output, images, record, calls, class_names or model.class_names)
    predicate_names = predicate_names or model.predicate_names
    explanations = []
    for index, (subject, object_, predicate) in enumerate(rows.tolist()):
        logit = output.relation_logits[0, subject, object_, predicate].item()
        frequency_bias, adjustment = shares.frequency_bias[index].item(), shares.logit_adjustment[index].item()
        head_logit = logit - frequency_bias - adjustment
        contributions = _numpy(shares.contributions[index])
        # A head that reads other pairs, too, gives another logit for these two queries by themselves.
        if not math.isclose(shares.head_logit[index].item(), head_logit, rel_tol=1e-3, abs_tol=1e-2):
            contributions = None
        connectivity_logit = connectivity = None
        if output.connectivity_logits is not None:
            connectivity_logit = output.connectivity_logits[0, subject, object_].item()
            connectivity = _sigmoid(connectivity_logit)
        ends = image.explained(subject), image.explained(object_)
        factors = (_sigmoid(logit), 1.0 if connectivity is None else connectivity, ends[0].score, ends[1].score)
        explanations.append(
            EdgeExplanation(
                subject=ends[0],
                object=ends[1],
                predicate_id=predicate,
                predicate=predicate_names[predicate] if predicate_names else f"predicate {predicate}",
                score=math.prod(factors),
                predicate_score=_sigmoid(logit),
                connectivity=connectivity,
                connectivity_logit=connectivity_logit,
                logit=logit,
                head_logit=head_logit,
                frequency_bias=frequency_bias,
                logit_adjustment=adjustment,
                sources=tuple(source_names(model)),
                gates=None if output.gates is None else _numpy(output.gates[0, :, subject, object_]),
                contributions=contributions,
                constant=head_logit - (0.0 if contributions is None else float(contributions.sum(dtype=np.float64))),
                attention=_numpy(attention[..., index]),
                attention_back=_numpy(attention_back[..., index]),
            )
        )
    return explanations


def _check_triplets(triplets: Sequence[tuple[int, int, int]] | np.ndarray, output: EGTROutput) -> Tensor:
    """Convert triplets to (E, 3) int64 on the model's device, and check them."""
    rows = torch.as_tensor(np.asarray(triplets, dtype=np.int64).reshape(-1, 3), device=output.logits.device)
    limits = rows.new_tensor(output.relation_logits.shape[1:])
    wrong = ((rows < 0) | (rows >= limits)).any(1)
    if wrong.any():
        raise PredictionError(
            f"There is no triplet {tuple(rows[wrong][0].tolist())} (subject query, object query, predicate): "
            f"the model has {limits[0]} queries and {limits[2]} predicates"
        )
    return rows


class _LogitShares(NamedTuple):
    """The terms of the logits of E triplets: contributions are (E, S), all others (E,)."""

    head_logit: Tensor
    frequency_bias: Tensor
    logit_adjustment: Tensor
    contributions: Tensor


def _logit_shares(model: EGTR, output: EGTROutput, rows: Tensor) -> _LogitShares:
    part = model.relation
    ends, predicates = rows[:, :2], rows[:, 2, None]

    def of_ends(tensor: Tensor) -> Tensor:
        return tensor[0, ends].float()

    # Each pair becomes an image of two queries, subject first, so that heads compute no other pairs.
    pairs = part.source(
        [of_ends(q) for q in output.queries], [of_ends(k) for k in output.keys], of_ends(output.hidden_states[-1])
    )
    weights = pairs.subjects.new_ones(*pairs.subjects.shape[:2], requires_grad=True)
    with torch.enable_grad():
        # A source enters a pair feature only as gate times source, so a factor on the gate weighs the source.
        pairs.gates = weights[..., None, None] * (1 if pairs.gates is None else pairs.gates)
        pairs.gates = pairs.gates.expand(-1, -1, 2, 2)
        head_logit = part.relation_head(pairs)[:, 0, 1].gather(1, predicates).squeeze(1)
        (contributions,) = torch.autograd.grad(head_logit.sum(), weights)
    nothing = head_logit.new_zeros(len(rows), 2, 2, output.relation_logits.shape[-1])
    frequency_bias, adjustment = (
        logits[:, 0, 1].gather(1, predicates).squeeze(1)
        for logits in (part.frequency_bias(nothing, of_ends(output.logits)), part.frequency_bias.adjust(nothing))
    )
    return _LogitShares(head_logit, frequency_bias, adjustment, contributions)


def _attention(model: EGTR, output: EGTROutput, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the (L, H, E) weights that subjects give to objects, and objects to subjects."""
    layers = [m for m in model.transformer.modules() if isinstance(m, QueryKeySelfAttention)]
    if not layers:
        raise ConfigurationError(
            f"MODEL.EGTR.TRANSFORMER.NAME: {type(model.transformer).__name__} has no QueryKeySelfAttention, so the "
            f"number of its heads is unknown, and relations cannot be explained"
        )
    keys = [key[0] for key in output.keys]
    each = torch.arange(len(rows), device=rows.device)

    def between(givers: Tensor, takers: Tensor) -> Tensor:
        weights = attention_weights([query[0, givers] for query in output.queries], keys, layers[0].num_heads)
        return weights[..., each, takers]

    return between(rows[:, 0], rows[:, 1]), between(rows[:, 1], rows[:, 0])


class _Image:
    """The objects of the explained image."""

    def __init__(self, model: EGTR, output: EGTROutput, images: ImageList, record, calls, class_names):
        resized = images.image_sizes[0]
        height, width = (int(record.get(key, side)) for key, side in zip(("height", "width"), resized, strict=True))
        self.scores, self.classes = object_scores(_numpy(output.logits[0]), model.object_score)
        self.boxes = _numpy(scale_boxes(output.pred_boxes[0], height, width))
        self.class_names, self.calls = class_names, calls
        # Points lie in 0..1 of the padded image.
        padded = images.tensor.shape[-2:]
        self.scale = np.array([padded[1] * width / resized[1], padded[0] * height / resized[0]])

    def explained(self, query: int) -> ExplainedObject:
        label = int(self.classes[query])
        points, weights = self._sampling(query)
        return ExplainedObject(
            query=query,
            class_id=label,
            name=self.class_names[label] if self.class_names else f"class {label}",
            score=float(self.scores[query]),
            box=self.boxes[query],
            points=points,
            point_weights=weights,
        )

    def _sampling(self, query: int) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        if not self.calls:
            return None, None
        sampled = [call.points_of(query) for call in self.calls]
        return np.stack([_numpy(p) for p, _ in sampled]) * self.scale, np.stack([_numpy(w) for _, w in sampled])


class _CrossAttentionCall(NamedTuple):
    """Input of one layer's deformable attention to the image."""

    attention: MultiScaleDeformableAttention
    query: Tensor
    reference_points: Tensor
    spatial_shapes: Sequence[tuple[int, int]]

    def points_of(self, query: int) -> tuple[Tensor, Tensor]:
        """Compute locations (H, F, P, 2), in 0..1 of the padded image, and weights (H, F, P) of one query."""
        locations, weights = self.attention.sampling_points(
            self.query[:, [query]], self.reference_points[:, [query]], self.spatial_shapes
        )
        return locations[0, 0], weights[0, 0]


@contextmanager
def _cross_attention_calls(model: EGTR) -> Iterator[list[_CrossAttentionCall]]:
    """Record the inputs of the decoder's layers of deformable attention, in their order, while this is open."""
    calls: list[_CrossAttentionCall] = []

    def keep(module: MultiScaleDeformableAttention, args: tuple, kwargs: dict) -> None:
        asked = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        calls.append(_CrossAttentionCall(module, *(asked[name] for name in _CrossAttentionCall._fields[1:])))

    decoder = getattr(model.transformer, "decoder", None)
    modules = decoder.modules() if isinstance(decoder, nn.Module) else []
    handles = [
        module.register_forward_pre_hook(keep, with_kwargs=True)
        for module in modules
        if isinstance(module, MultiScaleDeformableAttention)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _sigmoid(logit: float) -> float:
    # exp of a number that is never positive, so that it cannot overflow.
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else small) / (1.0 + small)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
