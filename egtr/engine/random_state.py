"""Seeds and states of all random number generators of a process."""

import random
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng


def seed_process(cfg: CfgNode, iteration: int = 0) -> None:
    """Seed all generators from SEED, differently in each process and each start; at random if SEED is negative.

    Args:
        iteration: number of the first step after this start, so that a resumed run does not draw its first random
            numbers again.
    """
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank() + iteration)


def get_random_state() -> dict[str, Any]:
    """Get the state of the generators of Python, numpy, torch and, if CUDA is in use, the current device.

    It consists only of tensors and plain values, so that a checkpoint with it can be read without running code.
    """
    name, keys, *position = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *position),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Set all generators to a state of :func:`get_random_state`."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, keys, *position = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
