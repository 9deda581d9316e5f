"""Deformable sampling by reading weighted rows of a table, forward and backward."""

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..spatial_shapes import SpatialShapes
from .bilinear_rows import LevelTable, corner_rows, find_squares, level_table, sample_gradients
from .chunks import chunks

# Sums in a chunk where rows are copied: few enough to stay in the processor's cache from one step to the next.
CHUNK = 2048
# Queries in a chunk where rows are not copied; with 8 heads, 4 levels and 4 points each has 512 indices and weights.
QUERIES = 1024


def gather(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Pick rows by index_select and sum them up by a matrix product: operations that every device has."""
    return sample_rows(value, spatial_shapes, sampling_locations, attention_weights, GatherRows)


def embedding_bag(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Treat each query and head as a bag of weighted rows, which PyTorch's embedding_bag reads without a copy."""
    return sample_rows(value, spatial_shapes, sampling_locations, attention_weights, BagsOfRows)


class GatherRows:
    """Reads and writes rows of a table by index. T rows of D numbers, G sums, K samples of four rows in each sum."""

    @staticmethod
    def read(source: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        """Compute weighted sums (G, D) of rows of ``source`` (T, D); rows and weights are (G, 4, K)."""
        parts = chunks(len(rows), CHUNK)
        sums = [torch.bmm(weights[part].flatten(1)[:, None], _pick(source, rows[part]))[:, 0] for part in parts]
        return torch.cat([source.new_empty(0, source.shape[1]), *sums])

    @staticmethod
    def multiply(source: Tensor, rows: Tensor, grad: Tensor) -> Tensor:
        """Compute the gradient of the weights (G, 4, K): each row times the gradient (G, D) of the sum it enters."""
        # No matrix product: if the backward pass runs under autocast, its factors would be rounded.
        return _pick(source, rows).mul_(grad[:, None]).sum(-1).view(rows.shape)

    @staticmethod
    def write(
        to: Tensor, grad: Tensor, first_row: Tensor, weights: Tensor, table: LevelTable, shapes: SpatialShapes
    ) -> None:
        """Add the gradient of the source to ``to`` (T, D), given the gradient (G, D) of the sums.

        It is the transpose of ``read``. ``first_row`` (G, K) is the row of the first of the four corners.
        """
        for part in chunks(len(grad), CHUNK):
            weighted = (weights[part].flatten(1)[..., None] * grad[part, None]).flatten(0, 1)
            rows = (first_row[part, None] + table.square).view(-1, 1).long()
            to.scatter_add_(0, rows.expand_as(weighted), weighted)


class BagsOfRows(GatherRows):
    """Reads and writes rows by embedding_bag, without copies."""

    @staticmethod
    def read(source: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        return F.embedding_bag(rows.flatten(1), source, mode="sum", per_sample_weights=weights.flatten(1))

    @staticmethod
    def multiply(source: Tensor, rows: Tensor, grad: Tensor) -> Tensor:
        # Only some elements of a matrix product are wanted, and nothing is copied. Other devices need the columns of
        # a sparse matrix in order, which these are not, and no sparse matrix may hold more elements than a dense one.
        sums, samples = len(rows), rows[0].numel()
        if source.device.type != "cpu" or samples > len(source):
            return GatherRows.multiply(source, rows, grad)
        _silence_sparse_warning()
        starts = torch.arange(0, rows.numel() + 1, samples, dtype=rows.dtype)
        zeros = source.new_zeros(rows.numel())
        wanted = torch.sparse_csr_tensor(starts, rows.flatten(), zeros, (sums, len(source)), check_invariants=False)
        return torch.sparse.sampled_addmm(wanted, grad, source.t(), beta=0).values().view(rows.shape)

    @staticmethod
    def write(
        to: Tensor, grad: Tensor, first_row: Tensor, weights: Tensor, table: LevelTable, shapes: SpatialShapes
    ) -> None:
        if first_row.numel() < len(to):
            # Few queries, as in a decoder: clearing and adding up whole tables would cost more than writing.
            GatherRows.write(to, grad, first_row, weights, table, shapes)
            return
        # The backward pass of embedding_bag itself adds sample by sample. Sorted by row, samples form bags again. All
        # four corners share the order of the first corner, since they lie one column or line further on.
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


def sample_rows(
    value: Tensor, shapes: SpatialShapes, locations: Tensor, attention_weights: Tensor, method: type[GatherRows]
) -> Tensor:
    """Sample by the rows that ``method`` reads and writes; arguments as for entries of the registry."""
    samples = value, locations, attention_weights
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in samples):
        return RowSampling.apply(value, shapes, locations, attention_weights, method)
    table = level_table(shapes, locations)
    heads, head_dim = value.shape[2:]
    sums = locations.new_empty(*locations.shape[:2], heads * head_dim)
    # One image and a few queries at a time, to keep memory low.
    for b, source in enumerate(value.flatten(1, 2)):
        for part in chunks(locations.shape[1], QUERIES):
            found = corner_rows(find_squares(locations[b, part], table), attention_weights[b, part], table)
            sums[b, part] = method.read(source, *found).view(-1, heads * head_dim)
    return sums


class RowSampling(torch.autograd.Function):
    """Gradients of :func:`sample_rows`. The backward pass computes rows and weights again instead of keeping them."""

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
    """Copy rows of a table to (G, 4 * K, D)."""
    return source.index_select(0, rows.flatten()).view(len(rows), -1, source.shape[1])


@functools.cache
def _silence_sparse_warning() -> None:
    """Make the first sparse tensor of the process, for which PyTorch warns once that the API may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), dtype=torch.float32, check_invariants=False)
