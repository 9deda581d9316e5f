"""Features of all pairs of queries, without the tensor of all pairs.

The paper's pair feature is R[i, j] = sum over sources l of g_l[i, j] * S_l[i, j], where S_l[i, j] joins the
projected query of subject i with the projected key of object j. Written out, S has N * N * (L + 1) rows of width 2d:
547 MiB for 200 queries. But both things that are done with it, the gate and the first layer of a head, are linear in
S. For the concatenation, W [q; k] = W_s q + W_o k, so everything is projected per query first, and only the N * N
sums over L + 1 gated terms remain, which are batched matrix products.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .build import PAIR_FUNCTION_REGISTRY


class PairFeatures(ABC):
    """R[i, j] of every pair, ready to be multiplied by a matrix.

    B pictures, N queries, S sources, d width of a source, D width of a pair feature.

    Args:
        subjects: (B, S, N, d) projected queries Q'.
        objects: (B, S, N, d) projected keys K'.
        gate: linear map from a pair feature to one number, the same for all sources; None: every gate is 1.

    Attributes:
        gates: (B, S, N, N) in 0..1, or None without a gate.
    """

    def __init__(self, subjects: Tensor, objects: Tensor, gate: nn.Linear | None):
        self.subjects, self.objects = subjects, objects
        self.gates = None if gate is None else self.source_scores(gate.weight[0], gate.bias).sigmoid()

    @staticmethod
    @abstractmethod
    def width(dim: int) -> int:
        """D for sources of width ``dim``."""

    @abstractmethod
    def source_scores(self, weight: Tensor, bias: Tensor) -> Tensor:
        """weight . S_l[i, j] + bias, weight (D,): (B, S, N, N)."""

    @abstractmethod
    def linear(self, layer: nn.Linear) -> Tensor:
        """layer(R[i, j]) for every pair: (B, N, N, out_features)."""

    def dense(self) -> Tensor:
        """R itself, (B, N, N, D): convenient for a head that is not linear in it, and large."""
        width = self.width(self.subjects.shape[-1])
        identity = nn.Linear(width, width, bias=False).to(self.subjects)
        with torch.no_grad():
            identity.weight.copy_(torch.eye(width))
        return self.linear(identity.requires_grad_(False))

    def gated_sum(self, subjects: Tensor | None, objects: Tensor | None) -> Tensor:
        """sum over l of g_l[i, j] * (subjects_l[i] + objects_l[j]).

        Args:
            subjects, objects: (B, S, N, O); None counts as zero.

        Returns:
            (B, N, N, O).
        """
        total = 0
        if self.gates is None:
            if subjects is not None:
                total = total + subjects.sum(1)[:, :, None]
            if objects is not None:
                total = total + objects.sum(1)[:, None]
            return total
        if subjects is not None:
            # For each subject i: (N, S) gates times (S, O).
            total = total + self.gates.permute(0, 2, 3, 1) @ subjects.transpose(1, 2)
        if objects is not None:
            # For each object j the same, over subjects.
            total = total + (self.gates.permute(0, 3, 2, 1) @ objects.transpose(1, 2)).transpose(1, 2)
        return total


def _add_bias(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias


@PAIR_FUNCTION_REGISTRY.register()
class ConcatPairs(PairFeatures):
    """S = [q; k], the paper's choice."""

    @staticmethod
    def width(dim: int) -> int:
        return 2 * dim

    def source_scores(self, weight, bias):
        of_subject, of_object = weight.chunk(2)
        return (self.subjects @ of_subject)[..., :, None] + (self.objects @ of_object + bias)[..., None, :]

    def linear(self, layer):
        of_subject, of_object = layer.weight.chunk(2, dim=1)
        out = self.gated_sum(F.linear(self.subjects, of_subject), F.linear(self.objects, of_object))
        return _add_bias(out, layer.bias)


@PAIR_FUNCTION_REGISTRY.register()
class SumPairs(PairFeatures):
    """S = q + k."""

    @staticmethod
    def width(dim: int) -> int:
        return dim

    def source_scores(self, weight, bias):
        return (self.subjects @ weight)[..., :, None] + (self.objects @ weight + bias)[..., None, :]

    def linear(self, layer):
        out = self.gated_sum(F.linear(self.subjects, layer.weight), F.linear(self.objects, layer.weight))
        return _add_bias(out, layer.bias)


@PAIR_FUNCTION_REGISTRY.register()
class HadamardPairs(PairFeatures):
    """S = q * k, element by element. Products do not separate, so one (B, N, N, d) sum is built."""

    @staticmethod
    def width(dim: int) -> int:
        return dim

    def source_scores(self, weight, bias):
        return (self.subjects * weight) @ self.objects.transpose(-1, -2) + bias

    def linear(self, layer):
        total = 0
        for source in range(self.subjects.shape[1]):
            product = self.subjects[:, source, :, None] * self.objects[:, source, None]
            total = total + (product if self.gates is None else product * self.gates[:, source, ..., None])
        return layer(total)


@PAIR_FUNCTION_REGISTRY.register()
class DotProductPairs(PairFeatures):
    """S = q . k, one number for each source: what plain attention would keep."""

    @staticmethod
    def width(dim: int) -> int:
        return 1

    def source_scores(self, weight, bias):
        return self.products() * weight + bias

    def products(self) -> Tensor:
        """(B, S, N, N) dot products, scaled by 1/sqrt(d) as in attention."""
        return self.subjects @ self.objects.transpose(-1, -2) * self.subjects.shape[-1] ** -0.5

    def linear(self, layer):
        products = self.products()
        return layer((products if self.gates is None else products * self.gates).sum(1)[..., None])
