"""Features of all pairs of queries, without the tensor of all pairs.

The paper's pair feature is R[i, j] = sum over sources l of g_l[i, j] * S_l[i, j], where S_l[i, j] joins the
projected query of subject i with the projected key of object j. Written out, S has N * N * (L + 1) rows of width 2d:
547 MiB for 200 queries. But S is only used by the gate and by the first layer of a head, and both are linear in S.
For the concatenation, W [q; k] = W_s q + W_o k, so everything is projected per query first, and only the N * N sums
over L + 1 gated terms remain, which are batched matrix products.

Without gradient, these sums and the layers after them are computed in blocks of pairs, which stay in the processor's
cache, or only for chosen pairs.
"""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .build import PAIR_FUNCTION_REGISTRY

# Number of subjects, and of objects, in a block of pairs. A hidden layer of width 256 takes 4 MiB on a CPU, because
# its cache is small, and 144 MiB on other devices, because starting an operation is expensive there.
_BLOCK = {"cpu": 64}
_BLOCK_ELSEWHERE = 384
# Numbers in a block of which a CPU's cache holds as many.
_CACHED = 2**18


class PairFeatures(ABC):
    """R[i, j] of every pair, ready to be multiplied by a matrix.

    B images, N queries, S sources, d width of a source, D width of a pair feature.

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
        """Return D for sources of width ``dim``."""

    @abstractmethod
    def source_scores(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Compute weight . S_l[i, j] + bias for every source and pair, weight (D,): (B, S, N, N)."""

    @abstractmethod
    def linear(self, layer: nn.Linear) -> Tensor:
        """Compute layer(R[i, j]) for every pair: (B, N, N, out_features)."""

    def apply(self, layer: nn.Linear, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute rest(layer(R[i, j])) for every pair, (B, N, N, ...), in a head that treats each pair on its own.

        The result is that of ``rest(pairs.linear(layer))``. Without gradient, and if the pair function allows it, the
        hidden layers of all pairs are never in memory at the same time.

        Args:
            layer: the first layer of the head.
            rest: its other layers, a function of (..., out_features) to (...) or (..., any width) that computes each
                row on its own.
        """
        return rest(self.linear(layer))

    def of_image(self, index: int) -> "PairFeatures":
        """Select one image of the batch, as a batch of one."""
        one = copy.copy(self)
        one.subjects, one.objects = self.subjects[index : index + 1], self.objects[index : index + 1]
        one.gates = None if self.gates is None else self.gates[index : index + 1]
        return one

    def dense(self) -> Tensor:
        """Compute R itself, (B, N, N, D), which is large, for a head that does not begin with a linear layer."""
        width = self.width(self.subjects.shape[-1])
        like = {"device": self.subjects.device, "dtype": self.subjects.dtype}
        # A new layer would draw random values, and seeded runs would continue with other ones.
        identity = nn.utils.skip_init(nn.Linear, width, width, bias=False, **like)
        nn.init.eye_(identity.weight)
        return self.linear(identity.requires_grad_(False))

    def gated_sum(self, subjects: Tensor, objects: Tensor) -> Tensor:
        """Compute the sum over sources l of g_l[i, j] * (subjects_l[i] + objects_l[j]).

        Args:
            subjects, objects: (B, S, N, O).

        Returns:
            (B, N, N, O).
        """
        if self.gates is None:
            return subjects.sum(1)[:, :, None] + objects.sum(1)[:, None]
        # For each subject i: (N, S) gates times (S, O); for each object j the same over subjects.
        of_subjects = self.gates.permute(0, 2, 3, 1) @ subjects.transpose(1, 2)
        return of_subjects + (self.gates.permute(0, 3, 2, 1) @ objects.transpose(1, 2)).transpose(1, 2)


class SeparablePairs(PairFeatures):
    """Pair functions whose linear maps are a term of the subject plus a term of the object.

    A subclass defines ``width`` and ``project``.
    """

    @abstractmethod
    def project(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Split weight S_l[i, j] into subjects_l[i] + objects_l[j], for a weight (O, D).

        Returns:
            subjects and objects, (B, S, N, O) each.
        """

    def source_scores(self, weight, bias):
        subjects, objects = self.project(weight[None])
        return subjects + (objects + bias).transpose(-1, -2)

    def linear(self, layer):
        total = self.gated_sum(*self.project(layer.weight))
        return total if layer.bias is None else total + layer.bias

    def apply(self, layer, rest):
        # In an exported graph, each write of a block becomes a copy of the whole result. torch.compile goes the same
        # way: the results are equal, but need the memory of all pairs.
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if whole or not PAIR_FUNCTION_REGISTRY.is_pairwise(type(self)):
            return super().apply(layer, rest)
        subjects, objects = self.project(layer.weight)
        images, _, queries, _ = subjects.shape
        parts = -(-queries // _BLOCK.get(subjects.device.type, _BLOCK_ELSEWHERE))
        edges = [queries * part // max(parts, 1) for part in range(parts + 1)]
        blocks = [slice(*ends) for ends in itertools.pairwise(edges)]
        out = None
        for image, some, others in itertools.product(range(images), blocks, blocks):
            gates = None if self.gates is None else self.gates[image, :, some, others]
            found = rest(self._linear_of_block(gates, subjects[image, :, some], objects[image, :, others], layer))
            if out is None:
                out = found.new_empty(images, queries, queries, *found.shape[2:])
            out[image, some, others] = found
        return super().apply(layer, rest) if out is None else out

    @staticmethod
    def _linear_of_block(gates: Tensor | None, subjects: Tensor, objects: Tensor, layer: nn.Linear) -> Tensor:
        """Compute a block (n, m, O) of :meth:`linear`: gates (S, n, m), subjects (S, n, O), objects (S, m, O)."""
        if gates is None:
            total = subjects.sum(0)[:, None] + objects.sum(0)
        else:
            gates = gates.to(subjects.dtype)
            total = gates.permute(1, 2, 0) @ subjects.transpose(0, 1)
            # In place, since passes over memory take most of the time. A block that fits into the cache costs less
            # to pass over than a small product for each object, which MKL does not do well on AMD's processors.
            if total.device.type == "cpu" and total.numel() <= _CACHED:
                for gate, of_objects in zip(gates[..., None], objects, strict=True):
                    total.addcmul_(gate, of_objects)
            else:
                total.transpose(0, 1).baddbmm_(gates.permute(2, 1, 0), objects.transpose(0, 1))
        return total if layer.bias is None else total.add_(layer.bias)

    def select(self, subjects: Tensor, objects: Tensor) -> "SelectedPairs":
        """Choose pairs of a batch of one image; subjects and objects are (P,) int64 queries."""
        return SelectedPairs(self, subjects, objects)


class SelectedPairs:
    """Features of P pairs of an image, for heads that treat each pair on its own.

    It has the methods of :class:`PairFeatures` that such heads use; results are (P, ...) in place of (B, N, N, ...).
    """

    def __init__(self, pairs: SeparablePairs, subjects: Tensor, objects: Tensor):
        self._pairs = pairs
        sources, queries = pairs.subjects.shape[1:3]
        offsets = torch.arange(sources, device=subjects.device) * queries
        # Rows of a table of all subjects and then all objects, source by source.
        self._rows = torch.cat([subjects[:, None] + offsets, objects[:, None] + offsets + sources * queries], dim=1)
        self.gates = None if pairs.gates is None else pairs.gates[0, :, subjects, objects].T

    def linear(self, layer: nn.Linear) -> Tensor:
        """Compute layer(R[i, j]) of each pair, (P, out_features)."""
        table = torch.cat(self._pairs.project(layer.weight), dim=1)[0].flatten(0, 1)
        weights = None if self.gates is None else self.gates.to(table.dtype).repeat(1, 2)
        total = F.embedding_bag(self._rows, table, mode="sum", per_sample_weights=weights)
        return total if layer.bias is None else total + layer.bias

    def apply(self, layer: nn.Linear, rest: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute rest(layer(R[i, j])) of each pair."""
        return rest(self.linear(layer))


@PAIR_FUNCTION_REGISTRY.register(pairwise=True)
class ConcatPairs(SeparablePairs):
    """S = [q; k], the paper's choice."""

    @staticmethod
    def width(dim: int) -> int:
        return 2 * dim

    def project(self, weight):
        of_subject, of_object = weight.chunk(2, dim=1)
        return F.linear(self.subjects, of_subject), F.linear(self.objects, of_object)


@PAIR_FUNCTION_REGISTRY.register(pairwise=True)
class SumPairs(SeparablePairs):
    """S = q + k."""

    @staticmethod
    def width(dim: int) -> int:
        return dim

    def project(self, weight):
        return F.linear(self.subjects, weight), F.linear(self.objects, weight)


@PAIR_FUNCTION_REGISTRY.register()
class HadamardPairs(PairFeatures):
    """S = q * k, element by element. Products do not separate, so one sum (B, N, N, d) is built."""

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
    """S = q . k, one number for each source, as in plain attention."""

    @staticmethod
    def width(dim: int) -> int:
        return 1

    def source_scores(self, weight, bias):
        return self.products() * weight + bias

    def products(self) -> Tensor:
        """Compute the dot products (B, S, N, N), scaled by 1/sqrt(d) as in attention."""
        return self.subjects @ self.objects.transpose(-1, -2) * self.subjects.shape[-1] ** -0.5

    def linear(self, layer):
        products = self.products()
        return layer((products if self.gates is None else products * self.gates).sum(1)[..., None])
