"""Small random records for the tests of prediction files."""

import numpy as np

from egtr.structures import GroundTruth, Prediction, all_pairs


def random_record(seed, num_queries=6, num_classes=3, num_predicates=4, image_id=None, digits=None):
    """A dense Prediction and a GroundTruth that some queries find.

    Args:
        seed: same seed, same record.
        digits: round scores to so many decimals, so that many of them are equal.
    """
    rng = np.random.RandomState(seed)

    def scores(*shape):
        values = rng.rand(*shape) ** 2
        return values if digits is None else values.round(digits)

    corners = rng.uniform(0, 60, (num_queries, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 40, (num_queries, 2))], axis=1)
    logits = rng.normal(-1, 2, (num_queries, num_classes))
    prediction = Prediction(
        logits=logits if digits is None else logits.round(digits - 1),
        boxes=boxes,
        pairs=all_pairs(num_queries),
        connectivity=scores(num_queries**2),
        relation=scores(num_queries**2, num_predicates),
        image_size=(100, 120),
    )
    # Annotated objects are queries a little moved, so that there is something to hit.
    found = rng.randint(0, max(num_queries, 1), 4 if num_queries else 0)
    truth = GroundTruth(
        boxes[found] + rng.uniform(-3, 3, (len(found), 4)),
        logits[found].argmax(axis=1) if len(found) else [],
        [(s, (s + 1) % 4, p) for s, p in enumerate(rng.randint(0, num_predicates, len(found)))],
        image_id,
    )
    return prediction, truth
