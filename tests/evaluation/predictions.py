"""Small random records for the tests of prediction files, and the comparison of records that score alike."""

import numpy as np

from egtr.evaluation import PROTOCOLS, PredictionWriter, Scorer
from egtr.structures import GroundTruth, Prediction, all_pairs

FIELDS = ("logits", "boxes", "pairs", "connectivity", "relation", "image_size")
NAMES = {"class_names": ("person", "dog", "tree"), "predicate_names": ("on", "near", "holds", "under")}


def random_record(seed, num_queries=6, num_classes=3, num_predicates=4, image_id=None, digits=None):
    """A dense Prediction and a GroundTruth that some queries find.

    Args:
        seed: same seed, same record.
        digits: round scores to this number of decimals, so that many are equal.
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


def assert_scored_alike(whole, pruned, truths, top_k, training):
    """Two lists of records have every metric in common, under every protocol, but those that need every pair.

    These are PRank, and what a protocol with ``single_instance`` cannot know of a pruned record.

    Args:
        whole, pruned: predictions of the same images.
        truths: their annotations.
        top_k: the K of R@K.
        training: triplets of the training set.
    """
    scorer = Scorer(list(PROTOCOLS), top_k, training, whole=False)
    wanted, found = (
        used.summarize([used.score(p, t) for p, t in zip(records, truths, strict=True)])
        for used, records in ((Scorer(list(PROTOCOLS), top_k, training), whole), (scorer, pruned))
    )
    for name, metrics in wanted.items():
        found_metrics = _flatten(found[name])
        for metric, value in _flatten(metrics).items():
            if metric == "PRank":
                continue
            if name == "single" and np.isnan(found_metrics[metric]).all():
                continue
            np.testing.assert_array_equal(found_metrics[metric], value, err_msg=f"{name} {metric}")


def _flatten(metrics):
    """Numbers of all metrics under names, those of every predicate included."""
    per_predicate = {f"per predicate {name}": values for name, values in metrics["per_predicate"].recall.items()}
    return {name: value for name, value in metrics.items() if name != "per_predicate"} | per_predicate


def write(path, image_ids, meta=None, **options):
    with PredictionWriter(path, meta, **options) as writer:
        for k, image_id in enumerate(image_ids):
            writer.write(image_id, *random_record(k, image_id=image_id))
