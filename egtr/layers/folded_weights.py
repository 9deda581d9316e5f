"""Weights of folded norms, computed once for a stream of images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import torch
from torch import Tensor, nn

Folded: TypeAlias = tuple[Tensor, Tensor]
_shared: ContextVar[dict[nn.Module, Folded] | None] = ContextVar("egtr_folded_weights", default=None)


class FoldedWeights:
    """The folded weights of a model, which images in a row share until its weights change.

    Otherwise each forward pass folds them again, which takes a twentieth of a small model's time on one core.

    Args:
        model: it may be trained or loaded between two images: changes that PyTorch counts are noticed, which are all
            but those through ``.data`` and by new parameter objects.
    """

    def __init__(self, model: nn.Module):
        tensors = [*model.parameters(), *model.buffers()]
        # Tensors of inference mode do not count their changes.
        self.tensors = None if any(tensor.is_inference() for tensor in tensors) else tensors
        self.changes = 0
        self.folded: dict[nn.Module, Folded] = {}

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let the model, in this thread, take the folded weights from here while this is open."""
        if self.tensors is None:
            yield
            return
        changes = sum(tensor._version for tensor in self.tensors)
        if changes != self.changes:
            self.folded.clear()
            self.changes = changes
        token = _shared.set(self.folded)
        try:
            yield
        finally:
            _shared.reset(token)


def fold_once(module: nn.Module, fold: Callable[[], Folded]) -> Folded:
    """Compute ``fold()``, weight and bias of a convolution; or take them from the shared ones of ``module``."""
    shared = None if torch.compiler.is_compiling() or torch.is_grad_enabled() else _shared.get()
    if shared is None:
        return fold()
    if module not in shared:
        shared[module] = fold()
    return shared[module]
