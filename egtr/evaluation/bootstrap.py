"""Confidence intervals of recall, by percentile bootstrap over the images of a test set."""

from collections.abc import Iterator, Sequence

import numpy as np

from egtr.structures import ConfigurationError

from .triplet_table import PREFIXES, TripletTable

LEVEL = 0.95
# The same draws in each run give the same intervals.
SEED = 0
# Datasets drawn at once: memory holds this many numbers for each image.
CHUNK = 64


def check_bootstrap(num_samples: int) -> None:
    """Check a number of draws; 0 means no intervals.

    Raises:
        ConfigurationError: it is negative or no integer.
    """
    if not isinstance(num_samples, int | np.integer) or num_samples < 0:
        raise ConfigurationError(
            f"bootstrap is {num_samples!r}; give the number of draws, such as 1000, or 0 for no intervals"
        )


def bootstrap_intervals(
    table: TripletTable,
    top_k: Sequence[int],
    absent_predicates_count: bool,
    num_samples: int,
    micro: bool = False,
) -> dict[str, tuple[float, float]]:
    """Compute 95% intervals of R@K and mR@K, with and without graph constraint.

    Each of ``num_samples`` draws takes I images with replacement out of the I images that have triplets, and is
    scored as a separate dataset. The interval lies between the 2.5th and the 97.5th percentile of the scores.

    Args:
        table: triplets of I images.
        top_k: the K of R@K.
        absent_predicates_count: see :class:`~egtr.evaluation.Protocol`; here for predicates that no
            image of a draw has.
        micro: R@K is hits over triplets of all images, not a mean over images.
        num_samples: B, at least 1. A thousand settle the third digit.

    Returns:
        Metric name to (low, high), in 0..1; NaN if there is nothing to be recalled.
    """
    names = [f"{prefix}{metric}@{k}" for prefix in PREFIXES for metric in ("R", "mR") for k in top_k]
    images, pairs = table.by_image(), table.by_image_and_predicate()
    if len(images.keys) == 0:
        return dict.fromkeys(names, (float("nan"), float("nan")))
    num_predicates = table.num_predicates
    # Rows of the matrices below are images that have triplets.
    rows = np.searchsorted(images.keys, pairs.keys // num_predicates)
    cells = (rows, pairs.keys % num_predicates)
    shape = (len(images.keys), num_predicates)
    # Here, since reports of an exported model import this room without SciPy.
    from scipy.sparse import csr_array

    present = csr_array((np.ones(len(rows)), cells), shape=shape)
    hits = {f"{prefix}R@{k}": table.ranks[f"{prefix}R"] < k for prefix in PREFIXES for k in top_k}
    sizes = images.sizes if micro else np.ones(len(images.keys))
    image_shares = {name: images.shares(hit) * sizes for name, hit in hits.items()}
    predicate_shares = {name: csr_array((pairs.shares(hit), cells), shape=shape) for name, hit in hits.items()}

    samples: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for weights in _draws(len(images.keys), num_samples):
        num_images = weights @ present
        divisor = num_predicates if absent_predicates_count else (num_images > 0).sum(axis=1)
        for name in hits:
            samples[name].append(weights @ image_shares[name] / (weights @ sizes))
            total = weights @ predicate_shares[name]
            means = np.divide(total, num_images, out=np.zeros_like(total), where=num_images > 0)
            samples[name.replace("R@", "mR@")].append(means.sum(axis=1) / divisor)
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    bounds = {name: np.quantile(np.concatenate(parts), tails) for name, parts in samples.items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def _draws(num_images: int, num_samples: int) -> Iterator[np.ndarray]:
    """Yield (b, I) float64, how often each of b draws has each image, until there are ``num_samples`` draws."""
    rng = np.random.default_rng(SEED)
    for start in range(0, num_samples, CHUNK):
        size = min(CHUNK, num_samples - start)
        chosen = rng.integers(0, num_images, (size, num_images)) + np.arange(size)[:, None] * num_images
        yield np.bincount(chosen.reshape(-1), minlength=size * num_images).reshape(size, num_images).astype(float)
