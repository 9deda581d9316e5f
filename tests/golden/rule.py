"""Deterministic pseudo-random tensors: a weight is a function of its name and shape alone."""
import zlib

import numpy as np


def _noise(key, shape, salt):
    seed = zlib.crc32(f"{salt}:{key}".encode())
    return np.random.RandomState(seed).standard_normal(size=tuple(shape))

def fill(key, shape, salt="a"):
    """Value of one tensor of the checkpoint, float32, from the name `key` and `shape`."""
    n = _noise(key, shape, salt)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if leaf == "running_var":
        v = 1.0 + 0.25 * np.abs(n)
    elif leaf == "running_mean":
        v = 0.1 * n
    elif key == "rel_dist":
        e = np.exp(n); v = e / e.sum()
    elif key == "triplet_dist":
        v = n - 1.0
    elif key.endswith("level_embed") or "query_position_embeddings" in key:
        v = n
    elif "sampling_offsets" in key:
        v = 0.02 * n if leaf == "weight" else 2.0 * n
    elif ("class_embed" in key or "score_head" in key) and leaf == "bias":
        v = -2.0 + 0.5 * n
    elif len(shape) == 1 and leaf == "weight":        # norm scale
        v = (0.5 + 0.05 * n) if "backbone" in key else (1.0 + 0.1 * n)
    elif leaf.endswith("bias"):
        v = 0.1 * n
    elif len(shape) == 4:
        v = n * np.sqrt(2.0 / np.prod(shape[1:]))
    elif len(shape) == 2:
        v = n / np.sqrt(shape[1])
    else:
        raise ValueError(f"no rule for {key} {shape}")
    return v.astype(np.float32)

def image(key, height, width, salt="a"):
    """A smooth synthetic RGB image, uint8 (height, width, 3)."""
    rng = np.random.RandomState(zlib.crc32(f"{salt}:{key}".encode()))
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float64)
    out = np.zeros((height, width, 3))
    for c in range(3):
        for _ in range(6):
            fy, fx, ph, a = rng.uniform(0, .2), rng.uniform(0, .2), rng.uniform(0, 6.3), rng.uniform(10, 40)
            out[..., c] += a * np.sin(fy * yy + fx * xx + ph)
        out[..., c] += 128 + 10 * rng.standard_normal((height, width))
    return np.clip(out, 0, 255).astype(np.uint8)
