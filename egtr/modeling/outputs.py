"""The dense output of the model, which losses and postprocessing read."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import Tensor

from egtr import _deprecated

if TYPE_CHECKING:  # only for the annotation of a field
    from .denoising import DenoisingQueries
    from .relation.pair_features import PairFeatures
    from .relation.part import RelationPart
    from .transformer.build import TransformerOutput

__getattr__ = _deprecated.moved(__name__, {"Target": "egtr.modeling.target.Target"})


def _single(value):
    return None if value is None else value.float()


@dataclass
class DenoisingOutput:
    """Predictions of the denoising queries in training. P queries, the first G of them positives of the first group.

    Attributes:
        drawn: the queries.
        logits: (B, P, C), of every decoder layer, or of the last one without auxiliary losses.
        pred_boxes: (B, P, 4) of the same layers.
        relation_logits: (B, G, G, R), or None if denoising queries have no relations.
        connectivity_logits: (B, G, G), or None.
    """

    drawn: "DenoisingQueries"
    logits: list[Tensor]
    pred_boxes: list[Tensor]
    relation_logits: Tensor | None = None
    connectivity_logits: Tensor | None = None

    @classmethod
    def read(
        cls, drawn: "DenoisingQueries", boxed: "TransformerOutput", part: "RelationPart | None"
    ) -> "DenoisingOutput":
        """Make the record of what a detector returned for the queries, with relations if there is a relation part."""
        output = cls(drawn, boxed.logits, boxed.pred_boxes)
        if part is not None:
            positives, _ = boxed.split(drawn.num_slots)
            pairs = part.source(positives.queries, positives.keys, positives.hidden_states[-1])
            output.relation_logits = part.relation_logits(pairs, positives.logits[-1])
            if part.connectivity_head is not None:
                output.connectivity_logits = part.connectivity_head(pairs)
        return output

    def float(self) -> "DenoisingOutput":
        """Convert all predictions to float32."""
        return DenoisingOutput(
            self.drawn,
            [logits.float() for logits in self.logits],
            [boxes.float() for boxes in self.pred_boxes],
            _single(self.relation_logits),
            _single(self.connectivity_logits),
        )


@dataclass
class EGTROutput:
    """Dense output for a batch. B images, N queries, C classes, R predicates, L decoder layers, d width.

    Attributes:
        logits: (B, N, C) class logits, sigmoid, no background class.
        pred_boxes: (B, N, 4) cxcywh in 0..1 of each image without its padding.
        relation_logits: (B, N, N, R), subject first, with frequency bias (and logit adjustment, if it is on, in
            evaluation mode); None without the relation part.
        connectivity_logits: (B, N, N); None without a connectivity head.
        hidden_states: L tensors (B, N, d).
        queries, keys: L tensors (B, N, d), by-products of decoder self-attention; queries are not scaled by
            1/sqrt(d_head).
        gates: (B, S, N, N) in 0..1, gate of each of the S relation sources; None without a gate.
        memory: (B, cells, d), encoder output.
        aux_outputs: (logits, pred_boxes) of the earlier decoder layers, first layer first.
        proposals: (logits, boxes) of encoder proposals, (B, S, C) and (B, S, 4), or None: of all S cells of
            Deformable DETR's two-stage, of the S = N selected cells of RT-DETR.
        proposal_classes: the logits of proposals tell classes; False: only class 0, "object", is used.
        tasks: name of an auxiliary relation task to its prediction, (B, N, N, ...); empty unless losses need it.
        predicate_frequency: (R,) share of each predicate among the triplets of the training set; None without the
            relation part.
        pairs: the pair features that the heads read; None without the relation part.
        denoising: predictions of denoising queries, in training with MODEL.EGTR.DENOISING; else None.
        boxed: what the detector returned for box queries, or None without them.
    """

    logits: Tensor
    pred_boxes: Tensor
    relation_logits: Tensor | None
    connectivity_logits: Tensor | None
    hidden_states: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]
    gates: Tensor | None
    memory: Tensor
    aux_outputs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    proposals: tuple[Tensor, Tensor] | None = None
    proposal_classes: bool = False
    tasks: dict[str, Tensor] = field(default_factory=dict)
    predicate_frequency: Tensor | None = None
    pairs: "PairFeatures | None" = None
    denoising: DenoisingOutput | None = None
    boxed: "TransformerOutput | None" = None

    @classmethod
    def read(
        cls,
        detected: "TransformerOutput",
        part: "RelationPart | None",
        with_relations: bool = True,
        with_tasks: bool = False,
    ) -> "EGTROutput":
        """Make the record of what a detector returned, and of what the relation part, if there is one, makes of it.

        Args:
            detected: output of the detector.
            part: the relation part; None: the fields of relations stay empty.
            with_relations: compute relation logits of all pairs.
            with_tasks: run auxiliary tasks, too.
        """
        output = cls(
            logits=detected.logits[-1],
            pred_boxes=detected.pred_boxes[-1],
            relation_logits=None,
            connectivity_logits=None,
            hidden_states=detected.hidden_states,
            queries=detected.queries,
            keys=detected.keys,
            gates=None,
            memory=detected.memory,
            proposal_classes=detected.proposal_classes,
        )
        if detected.proposal_logits is not None:
            output.proposals = detected.proposal_logits, detected.proposal_boxes
        if part is not None:
            pairs = output.pairs = part.source(detected.queries, detected.keys, detected.hidden_states[-1])
            if with_relations:
                output.relation_logits = part.relation_logits(pairs, output.logits)
            if part.connectivity_head is not None:
                output.connectivity_logits = part.connectivity_head(pairs)
            output.gates = pairs.gates
            output.predicate_frequency = part.frequency_bias.predicate_frequency
            if with_tasks:
                output.tasks = {name: task(pairs) for name, task in part.tasks.items()}
        return output

    def float(self) -> "EGTROutput":
        """Convert everything that losses read to float32."""
        return replace(
            self,
            logits=_single(self.logits),
            pred_boxes=_single(self.pred_boxes),
            relation_logits=_single(self.relation_logits),
            connectivity_logits=_single(self.connectivity_logits),
            gates=_single(self.gates),
            aux_outputs=[(_single(logits), _single(boxes)) for logits, boxes in self.aux_outputs],
            proposals=None if self.proposals is None else (_single(self.proposals[0]), _single(self.proposals[1])),
            tasks={name: _single(predicted) for name, predicted in self.tasks.items()},
            denoising=None if self.denoising is None else self.denoising.float(),
        )
