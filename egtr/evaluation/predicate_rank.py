"""The place of the right predicate among all predicates of its pair (PRank of SGBench)."""

import numpy as np

from egtr.structures import Prediction


def predicate_ranks(
    prediction: Prediction, object_scores: np.ndarray, object_matches: np.ndarray, gt_triplets: np.ndarray
) -> np.ndarray:
    """Find how many predicates a record prefers to the annotated one, for the same two objects.

    Args:
        prediction: all M pairs of N queries; no pair may be left out.
        object_scores: (N,) float32.
        object_matches: (N, G) bool, at most one match a query: a prediction stands for one annotated object.
        gt_triplets: (T, 3) int, (subject, object, predicate).

    Returns:
        (T,) float64, from 0: the number of predicates with a better score in a pair of queries that match the two
        objects, of equal scores those of a smaller (subject, object, predicate). NaN if no pair matches.
    """
    ranks = np.full(len(gt_triplets), np.nan)
    subjects, objects = prediction.pairs.T
    if len(subjects) == 0 or len(gt_triplets) == 0:
        return ranks
    related = subjects != objects
    for subject, object_ in np.unique(gt_triplets[:, :2], axis=0):
        rows = np.flatnonzero(object_matches[subjects, subject] & object_matches[objects, object_] & related)
        if len(rows) == 0:
            continue
        rows = rows[np.lexsort((objects[rows], subjects[rows]))]
        pair_scores = prediction.connectivity[rows] * object_scores[subjects[rows]] * object_scores[objects[rows]]
        scores = prediction.relation[rows] * pair_scores[:, None]
        best = scores.argmax(axis=0)
        order = np.lexsort((best, -scores.max(axis=0)))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        asked = (gt_triplets[:, 0] == subject) & (gt_triplets[:, 1] == object_)
        ranks[asked] = place[gt_triplets[asked, 2]]
    return ranks
