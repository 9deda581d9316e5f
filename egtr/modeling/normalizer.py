"""What sums of losses are divided by."""

import torch
from detectron2.utils import comm
from torch import Tensor


def mean_over_processes(count: int | Tensor, device: torch.device, minimum: float = 1.0) -> Tensor:
    """A normaliser that makes the average of all processes' losses equal one process's loss on all their pictures."""
    count = torch.as_tensor(count, dtype=torch.float32, device=device).clone()
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(count)
        minimum /= comm.get_world_size()
        count /= comm.get_world_size()
    return count.clamp(min=minimum)
