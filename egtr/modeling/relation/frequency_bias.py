"""The statistics of the training set about pairs of classes."""

import torch
from torch import Tensor, nn

from egtr.structures import ConfigurationError

KINDS = ("reference", "probability", "none")


class FrequencyBias(nn.Module):
    """Table T of predicate scores for each pair of object classes, and the frequency of predicates.

    Both are buffers: checkpoints contain them, and they get no gradient.

    Args:
        num_classes: C.
        num_predicates: R.
        kind: "reference": T = log(n + e / (n_total + e)), log-counts, as released; "probability": T = log of
            (n + e) / (n_total + e), normalised over predicates; "none": nothing is added.
        eps: e.
        tau: strength of logit adjustment at inference; 0 switches it off.

    Attributes:
        table: (C + 1, C + 1, R), subject class first; the last row and column are unused, as released.
        predicate_frequency: (R,), sums to 1.
    """

    def __init__(
        self, num_classes: int, num_predicates: int, *, kind: str = "reference", eps: float = 1e-12, tau: float = 0.0
    ):
        super().__init__()
        if kind not in KINDS:
            raise ConfigurationError(
                f"MODEL.EGTR.RELATION.FREQUENCY_BIAS is {kind!r}, choose one of {', '.join(KINDS)}"
            )
        self.kind, self.eps, self.tau = kind, eps, tau
        self.register_buffer("table", torch.zeros(num_classes + 1, num_classes + 1, num_predicates))
        self.register_buffer("predicate_frequency", torch.full((num_predicates,), 1.0 / max(num_predicates, 1)))

    @torch.no_grad()
    def set_counts(self, triplet_counts: Tensor) -> None:
        """Fill both buffers from the training set.

        Args:
            triplet_counts: (C, C, R) number of annotated (subject class, object class, predicate).

        Raises:
            ConfigurationError: the counts have another shape.
        """
        wanted = (self.table.shape[0] - 1, self.table.shape[1] - 1, self.table.shape[2])
        if tuple(triplet_counts.shape) != wanted:
            raise ConfigurationError(
                f"triplet counts have shape {tuple(triplet_counts.shape)}, the model expects {wanted}: "
                f"MODEL.EGTR.NUM_CLASSES or NUM_PREDICATES disagrees with the dataset"
            )
        counts = triplet_counts.double()
        total = counts.sum(-1, keepdim=True)
        if self.kind == "probability":
            table = torch.log((counts + self.eps) / (total + self.eps)).log_softmax(-1)
        else:
            table = torch.log(counts + self.eps / (total + self.eps))
        self.table.zero_()
        self.table[:-1, :-1] = table.to(self.table)
        frequency = counts.sum((0, 1))
        # Without any relation in the dataset the frequency is uniform.
        frequency = frequency + (frequency.sum() == 0)
        self.predicate_frequency.copy_((frequency / frequency.sum()).to(self.predicate_frequency))

    def forward(self, relation_logits: Tensor, logits: Tensor) -> Tensor:
        """Add T[class of i, class of j] to the relation logits of each pair.

        Args:
            relation_logits: (B, N, N, R).
            logits: (B, N, C) class logits; their argmax is the class of a query.
        """
        classes = logits.argmax(-1)
        return self.add(relation_logits, classes[:, :, None], classes[:, None, :])

    def add(self, relation_logits: Tensor, subject_classes: Tensor, object_classes: Tensor) -> Tensor:
        """Do the same for any pairs: relation logits (..., R), and int64 classes that broadcast to (...)."""
        if self.kind == "none":
            return relation_logits
        return relation_logits + self.table[subject_classes, object_classes]

    def adjust(self, relation_logits: Tensor) -> Tensor:
        """Adjust logits to relation_logits - tau * log(predicate frequency), for inference, never for a loss."""
        if self.tau == 0:
            return relation_logits
        # The lower limit keeps the logit of a predicate without training examples finite.
        return relation_logits - self.tau * self.predicate_frequency.clamp(min=1e-12).log()
