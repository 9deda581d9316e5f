"""Tiny scenes for hand-computed tests."""

import numpy as np

from egtr.structures import GroundTruth, Prediction

# Three boxes far apart from each other.
A, B, C = [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]


def predict(boxes, classes, relations, num_predicates=3, num_classes=2):
    """Objects of score 1.

    ``relations`` maps (subject, object) to (connectivity, one value a predicate), or lists such
    ((subject, object), (connectivity, values)), where a pair has several rows.
    """
    rows = list(relations.items()) if isinstance(relations, dict) else relations
    logits = np.zeros((len(boxes), num_classes))
    logits[np.arange(len(boxes)), classes] = 200.0
    return Prediction(
        logits=logits,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        pairs=np.array([pair for pair, _ in rows]).reshape(-1, 2),
        connectivity=[connectivity for _, (connectivity, _) in rows],
        relation=np.array([values for _, (_, values) in rows]).reshape(-1, num_predicates),
        image_size=(50, 50),
    )


def nothing(num_predicates=3):
    return predict([], [], {}, num_predicates)


def two_images():
    # Image 1. Ground truth: A -0-> B, A -1-> B, B -2-> C. Predicted entries, score = relation * connectivity:
    #   A,B: 0.8 * (.9, .5, .1) = .72, .40, .08     B,C: 1 * (.1, .2, .3) = .1, .2, .3
    #   C,A: 1 * (.6, 0, 0) = .6, 0, 0
    # With graph constraint, each pair by its best: A0B (.72, hit), C0A (.6), B2C (.3, hit). A1B is never
    # reached. Without: A0B (.72, hit), C0A (.6), A1B (.40, hit), B2C (.3, hit), ...
    first = predict(
        [A, B, C],
        [0, 1, 0],
        {(0, 1): (0.8, [0.9, 0.5, 0.1]), (1, 2): (1.0, [0.1, 0.2, 0.3]), (2, 0): (1.0, [0.6, 0, 0])},
    )
    # Image 2. Ground truth: A -0-> B. The pair is found, but with predicate 1 first.
    second = predict([A, B], [0, 1], {(0, 1): (1.0, [0.3, 0.7, 0.0])})
    ground_truth = [
        GroundTruth([A, B, C], [0, 1, 0], [[0, 1, 0], [0, 1, 1], [1, 2, 2]]),
        GroundTruth([A, B], [0, 1], [[0, 1, 0]]),
    ]
    return [first, second], ground_truth
