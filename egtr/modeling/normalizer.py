"""What sums of losses are divided by."""

import torch
from detectron2.utils import comm
from torch import Tensor

NORMALIZERS = ("global", "process")


def loss_normalizer(count: int | Tensor, device: torch.device, kind: str = "global") -> Tensor:
    """What a sum of losses is divided by; never 0.

    Distributed training takes the mean of all processes' gradients. With "global" counts that is the gradient of one
    process that sees all their images. With "process" an image weighs more the less its process has to count.

    Args:
        count: of objects or entries in the images of this process.
        device: of the result, and where processes exchange their counts.
        kind: "global": all processes' counts together, divided by the number of processes, all of which must call
            together; "process": this process's own count. The same in one process.

    Returns:
        A scalar, float32.
    """
    count = torch.as_tensor(count, dtype=torch.float32, device=device).clone()
    processes = comm.get_world_size() if kind == "global" else 1
    if processes > 1:
        torch.distributed.all_reduce(count)
    return count.clamp(min=1.0) / processes
