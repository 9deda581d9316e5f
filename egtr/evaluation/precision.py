"""Precision of triplets, for datasets that annotate every relation there is."""

from collections.abc import Sequence

import numpy as np

from egtr.structures import ConfigurationError

from .image_scores import Precision

# For the messages of a refusal.
WHY = (
    "where annotators leave relations out, as in Visual Genome, a prediction that is right and not annotated would "
    "count as wrong. If yours annotates every relation, say so by exhaustive: true, in the fifth entry of its row in "
    "DATASETS.REGISTER or in the meta of the prediction file"
)


def check_precision(threshold: float | None, exhaustive: bool) -> None:
    """Refuse precision at a threshold for a dataset that is not annotated exhaustively.

    Raises:
        ConfigurationError: a threshold is given, but the dataset is not exhaustive.
    """
    if threshold is not None and not exhaustive:
        raise ConfigurationError(
            f"precision was asked for, but the dataset does not say that it is exhaustive: {WHY}"
        )


def precision_metrics(
    records: Sequence[Precision], top_k: Sequence[int], threshold: float | None = None
) -> dict[str, float]:
    """Compute precision with graph constraint.

    Args:
        records: one for each image.
        top_k: the K of P@K.
        threshold: the least score of P(score); None: none.

    Returns:
        In 0..1, NaN without predictions. "P@K": right triplets among the first K / their number, which is less than K
        where fewer are predicted; mean over images with predictions. "P(score>=...)": right triplets with at least
        this score / their number, both summed over all images, of the max(top_k) best of each.
    """
    metrics = {}
    for k in top_k:
        shares = [record.right[:k].mean() for record in records if len(record.right)]
        metrics[f"P@{k}"] = float(np.mean(shares)) if shares else float("nan")
    if threshold is not None:
        chosen = [record.right[record.scores >= threshold] for record in records]
        right = np.concatenate([np.zeros(0, dtype=bool), *chosen])
        metrics[f"P(score>={threshold:g})"] = float(right.mean()) if len(right) else float("nan")
    return metrics
