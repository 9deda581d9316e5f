"""Implementations of multi-scale deformable sampling (Zhu et al., Deformable DETR, section 4.1), in pure PyTorch."""

import functools
import logging
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from detectron2.utils.registry import Registry
from torch import Tensor
from torch.autograd.function import once_differentiable

from egtr.structures import EGTRError

from .bilinear_rows import LevelTable, SpatialShapes, corner_rows, find_squares, level_table, sample_gradients
from .chunks import chunks

logger = logging.getLogger(__name__)

DEFORMABLE_ATTENTION_REGISTRY = Registry("DEFORMABLE_ATTENTION")
DEFORMABLE_ATTENTION_REGISTRY.__doc__ = """
How bilinear samples are taken and summed up (MODEL.EGTR.TRANSFORMER.DEFORMABLE_ATTENTION).

An entry is a function of ``value`` (B, S, M, D), ``spatial_shapes``, ``sampling_locations`` (B, Q, M, L, P, 2) and
``attention_weights`` (B, Q, M, L, P), as :func:`egtr.layers.multi_scale_deformable_attention` describes them, that
returns (B, Q, M * D), differentiable in all three tensors. They have one type, float32 or float64, and are on one
device; autocast is off, and Q may be 0.
"""

# Sums at a time where rows are copied: few enough to stay in a processor's cache from one step to the next.
CHUNK = 2048
# Queries at a time where rows are not copied; with 8 heads, 4 levels and 4 points each has 512 indices and weights.
QUERIES = 1024


def sampling_function(name: str, device: torch.device) -> Callable[..., Tensor]:
    """The entry of this name; "auto": the fastest for the device that needs no compiler, in inference and training.

    Raises:
        EGTRError: it is not registered.
    """
    if name == "auto":
        name = "embedding_bag" if device.type == "cpu" else "grid_sample"
    if name not in DEFORMABLE_ATTENTION_REGISTRY:
        known = ", ".join(["auto", *sorted(name for name, _ in DEFORMABLE_ATTENTION_REGISTRY)])
        raise EGTRError(
            f"MODEL.EGTR.TRANSFORMER.DEFORMABLE_ATTENTION: {name!r} is not registered. Known: {known}. An entry of "
            f"your own must be imported before the model is built"
        )
    return DEFORMABLE_ATTENTION_REGISTRY.get(name)


@DEFORMABLE_ATTENTION_REGISTRY.register()
def grid_sample(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Level by level with PyTorch's grid_sample: the plainest form, which tests hold the others against."""
    batch, _, heads, head_dim = value.shape
    queries, levels, points = sampling_locations.shape[1], len(spatial_shapes), sampling_locations.shape[4]
    grids = (2 * sampling_locations - 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 1)  # (B*M, L, Q, P, 2)
    sampled = []
    for level, (cells, (height, width)) in enumerate(
        zip(value.split([h * w for h, w in spatial_shapes], dim=1), spatial_shapes, strict=True)
    ):
        feature = cells.permute(0, 2, 3, 1).reshape(batch * heads, head_dim, height, width)
        sampled.append(F.grid_sample(feature, grids[:, level], "bilinear", "zeros", align_corners=False))
    weights = attention_weights.permute(0, 2, 1, 3, 4).reshape(batch * heads, 1, queries, levels * points)
    out = (torch.cat(sampled, dim=-1) * weights).sum(-1)  # (B*M, D, Q)
    return out.view(batch, heads * head_dim, queries).transpose(1, 2)


@DEFORMABLE_ATTENTION_REGISTRY.register()
def gather(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Rows picked by index_select and summed up by a matrix product: operations that every device has."""
    return sample_rows(value, spatial_shapes, sampling_locations, attention_weights, GatherRows)


@DEFORMABLE_ATTENTION_REGISTRY.register()
def embedding_bag(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Each query and head is a bag of weighted rows, which PyTorch's embedding_bag reads without a copy."""
    return sample_rows(value, spatial_shapes, sampling_locations, attention_weights, BagsOfRows)


@DEFORMABLE_ATTENTION_REGISTRY.register()
def compiled(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """embedding_bag with its index arithmetic compiled by torch.compile.

    The first call waits some ten seconds for the compiler, so "auto" never chooses it; all sizes of images share
    what is compiled. Where that does not work, the log says so, once, and the arithmetic runs uncompiled.
    """
    return sample_rows(value, spatial_shapes, sampling_locations, attention_weights, CompiledBagsOfRows)


class GatherRows:
    """Reads and writes rows of a table by index. T rows of D numbers, G sums, K samples of four rows in each."""

    @staticmethod
    def find(locations: Tensor, attention_weights: Tensor, table: LevelTable) -> tuple[Tensor, Tensor]:
        """Rows and weights (G, 4, K) of samples; see :func:`~egtr.layers.bilinear_rows.corner_rows`."""
        return corner_rows(find_squares(locations, table), attention_weights, table)

    @staticmethod
    def read(source: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """Weighted sums (G, D) of rows of ``source`` (T, D)."""
        parts = chunks(len(rows), CHUNK)
        sums = [torch.bmm(weights[part].flatten(1)[:, None], _pick(source, rows[part]))[:, 0] for part in parts]
        return torch.cat([source.new_empty(0, source.shape[1]), *sums])

    @staticmethod
    def multiply(source: Tensor, rows: Tensor, grad: Tensor) -> Tensor:
        """The gradient of the weights: (G, 4, K), each row times the gradient (G, D) of the sum that it enters."""
        # No matrix product: autocast, if the backward pass runs under it, would round its factors.
        return _pick(source, rows).mul_(grad[:, None]).sum(-1).view(rows.shape)

    @staticmethod
    def write(
        to: Tensor, grad: Tensor, first_row: Tensor, weights: Tensor, table: LevelTable, shapes: SpatialShapes
    ) -> None:
        """The transpose of ``read``: adds what the gradient (G, D) of the sums makes of the source's, ``to`` (T, D).

        ``first_row`` (G, K) stands for the rows of the four corners.
        """
        for part in chunks(len(grad), CHUNK):
            weighted = (weights[part].flatten(1)[..., None] * grad[part, None]).flatten(0, 1)
            rows = (first_row[part, None] + table.square).view(-1, 1).long()
            to.scatter_add_(0, rows.expand_as(weighted), weighted)


class BagsOfRows(GatherRows):
    """The same by embedding_bag, in both directions."""

    @staticmethod
    def read(source: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        return F.embedding_bag(rows.flatten(1), source, mode="sum", per_sample_weights=weights.flatten(1))

    @staticmethod
    def multiply(source: Tensor, rows: Tensor, grad: Tensor) -> Tensor:
        # A product of matrices of which these elements alone are wanted: nothing is copied. Columns in any order, as
        # they are here, are not what other devices expect of a sparse matrix, and none holds more than a dense one.
        sums, samples = len(rows), rows[0].numel()
        if source.device.type != "cpu" or samples > len(source):
            return GatherRows.multiply(source, rows, grad)
        _hear_of_sparse_tensors()
        starts = torch.arange(0, rows.numel() + 1, samples, dtype=rows.dtype)
        zeros = source.new_zeros(rows.numel())
        wanted = torch.sparse_csr_tensor(starts, rows.flatten(), zeros, (sums, len(source)), check_invariants=False)
        return torch.sparse.sampled_addmm(wanted, grad, source.t(), beta=0).values().view(rows.shape)

    @staticmethod
    def write(
        to: Tensor, grad: Tensor, first_row: Tensor, weights: Tensor, table: LevelTable, shapes: SpatialShapes
    ) -> None:
        if first_row.numel() < len(to):
            # Few queries, as in a decoder: there is more to be cleared and added up here than to be written.
            GatherRows.write(to, grad, first_row, weights, table, shapes)
            return
        # embedding_bag's own backward adds sample by sample. Sorted by row, samples are bags again, and all four
        # corners share the order of the first: what they read together lies one column or line further on.
        heads, sizes = table.first_row.shape[0], [h * w for h, w in shapes]
        order = first_row.flatten().sort(stable=True).indices
        counts = first_row.flatten().bincount(minlength=sum(sizes) * heads)
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        sums = order.div(first_row.shape[1], rounding_mode="floor")
        for corner, (down, right) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            bags = {"mode": "sum", "per_sample_weights": weights[:, corner].flatten().index_select(0, order)}
            added = F.embedding_bag(sums, grad, starts, include_last_offset=True, **bags)
            levels = zip(shapes, *(t.split([size * heads for size in sizes]) for t in (to, added)), strict=True)
            for (height, width), *tables in levels:
                there, here = (table.view(height, width, heads, -1) for table in tables)
                there[down:, right:] += here[: height - down, : width - right]


class CompiledBagsOfRows(BagsOfRows):
    """The same with compiled index arithmetic, as long as the compiler works."""

    works = True

    @staticmethod
    def find(locations: Tensor, attention_weights: Tensor, table: LevelTable) -> tuple[Tensor, Tensor]:
        if CompiledBagsOfRows.works:
            try:
                return _compiled_find()(locations, attention_weights, table)
            except Exception as error:
                # Inputs that are at fault raise an error of their own here.
                found = GatherRows.find(locations, attention_weights, table)
                CompiledBagsOfRows.works = False
                logger.warning("torch.compile does not work here, deformable attention goes on without it: %r", error)
                return found
        return GatherRows.find(locations, attention_weights, table)


def sample_rows(
    value: Tensor, shapes: SpatialShapes, locations: Tensor, attention_weights: Tensor, method: type[GatherRows]
) -> Tensor:
    """An entry of the registry, by what ``method`` says about reading and writing."""
    samples = value, locations, attention_weights
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in samples):
        return RowSampling.apply(value, shapes, locations, attention_weights, method)
    # One graph of compiled arithmetic for inference and training.
    value, locations, attention_weights = (tensor.detach() for tensor in samples)
    table = level_table(shapes, locations)
    heads, head_dim = value.shape[2:]
    sums = locations.new_empty(*locations.shape[:2], heads * head_dim)
    # Image by image and some queries at a time, to keep memory low.
    for b, source in enumerate(value.flatten(1, 2)):
        for part in chunks(locations.shape[1], QUERIES):
            found = method.find(locations[b, part], attention_weights[b, part], table)
            sums[b, part] = method.read(source, *found).view(-1, heads * head_dim)
    return sums


class RowSampling(torch.autograd.Function):
    """Gradients of :func:`sample_rows`. Rows and weights are computed anew rather than kept."""

    @staticmethod
    def forward(ctx, value, shapes, locations, attention_weights, method):
        ctx.save_for_backward(value, locations, attention_weights)
        ctx.shapes, ctx.method = shapes, method
        return sample_rows(value, shapes, locations, attention_weights, method)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        value, locations, attention_weights = ctx.saved_tensors
        table = level_table(ctx.shapes, locations)
        queries, heads, head_dim = *locations.shape[1:3], value.shape[-1]
        d_value = value.new_zeros(value.shape) if ctx.needs_input_grad[0] else None
        d_locations, d_weights = torch.empty_like(locations), torch.empty_like(attention_weights)
        samples = table.size.shape[-1]
        first_row = torch.empty(queries * heads, samples, dtype=torch.int32, device=grad.device)
        weights = grad.new_empty(queries * heads, 4, samples)
        for b, d_sums in enumerate(grad.contiguous().view(len(grad), queries * heads, head_dim)):
            source = value[b].reshape(-1, head_dim)
            for part in chunks(queries, max(1, CHUNK // heads)):
                squares = find_squares(locations[b, part], table)
                groups = slice(part.start * heads, part.stop * heads)
                rows, weights[groups] = corner_rows(squares, attention_weights[b, part], table)
                first_row[groups] = rows[:, 0]
                products = ctx.method.multiply(source, rows, d_sums[groups])
                d_locations[b, part], d_weights[b, part] = sample_gradients(
                    squares, attention_weights[b, part], table, products
                )
            if d_value is not None and queries:
                ctx.method.write(d_value[b].view(-1, head_dim), d_sums, first_row, weights, table, ctx.shapes)
        return d_value, None, d_locations, d_weights, None


def _pick(source: Tensor, rows: Tensor) -> Tensor:
    """(G, 4 * K, D)."""
    return source.index_select(0, rows.flatten()).view(len(rows), -1, source.shape[1])


@functools.cache
def _hear_of_sparse_tensors() -> None:
    """PyTorch says once in a process that sparse tensors may change, which is no news to who trains a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), dtype=torch.float32, check_invariants=False)


@functools.cache
def _compiled_find() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(GatherRows.find, dynamic=True)
