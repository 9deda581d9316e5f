"""Divisors of sums of losses."""

import torch
from detectron2.utils import comm
from torch import Tensor

NORMALIZERS = ("global", "process")


def loss_normalizer(count: int | Tensor, device: torch.device, kind: str = "global") -> Tensor:
    """Compute the number by which a sum of losses is divided; it is never 0.

    Distributed training takes the mean of the gradients of all processes. With "global", this mean is the gradient of
    one process that sees all images. With "process", an image weighs more if its process has fewer objects.

    Args:
        count: number of objects or entries in the images of this process.
        device: device of the result, on which processes exchange their counts.
        kind: "global": the sum of the counts of all processes, divided by the number of processes; all processes must
            call together. "process": the count of this process. Both are the same with one process.

    Returns:
        A scalar, float32.
    """
    count = torch.as_tensor(count, dtype=torch.float32, device=device).clone()
    processes = comm.get_world_size() if kind == "global" else 1
    if processes > 1:
        torch.distributed.all_reduce(count)
    return count.clamp(min=1.0) / processes
