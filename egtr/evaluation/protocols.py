"""Scoring conventions of scene graphs under a name.

Codebases of the field differ in small conventions that move every number. A :class:`Protocol` holds one value
for each, so that a metric is only ever reported together with the conventions behind it.
"""

from dataclasses import dataclass

from egtr.structures import EGTRError
from egtr.structures.prediction import OBJECT_SCORES


@dataclass(frozen=True)
class Protocol:
    """One value for every convention. Derive an own one with :func:`dataclasses.replace`.

    Attributes:
        name: under which results are reported.
        object_score: "softmax" over the class logits, or "sigmoid". It multiplies into the score of a
            triplet.
        iou_threshold: subject and object must both overlap with the ground truth by at least this, in 0..1.
        iou_plus_one: a box of pixels x1..x2 is x2 - x1 + 1 wide (boxes as pixel indices) instead of x2 - x1.
        graph_constraint: the rankings that are scored. True: a pair enters with its best predicate alone
            (R@K, mR@K). False: with every predicate (ng-R@K, ng-mR@K).
        deduplicate_ground_truth: a triplet that an image lists twice counts once.
        absent_predicates_count: predicates that no image has count 0 in mR@K; otherwise they are left out of
            the mean.
        skip_images_without_pairs: images for which nothing was predicted are left out instead of scoring 0.

    Object AP has no switch here: it is that of COCO (:data:`~egtr.evaluation.detection.OBJECT_AP`). The released
    implementation's own way for Open Images is in :mod:`egtr.evaluation.open_images`.
    """

    name: str
    object_score: str = "softmax"
    iou_threshold: float = 0.5
    iou_plus_one: bool = False
    graph_constraint: tuple[bool, ...] = (True, False)
    deduplicate_ground_truth: bool = True
    absent_predicates_count: bool = True
    skip_images_without_pairs: bool = False

    def __post_init__(self):
        if self.object_score not in OBJECT_SCORES:
            raise EGTRError(
                f"protocol {self.name!r}: object_score is {self.object_score!r}, "
                f"choose one of {', '.join(OBJECT_SCORES)}"
            )
        if not 0 < self.iou_threshold <= 1:
            raise EGTRError(f"protocol {self.name!r}: iou_threshold is {self.iou_threshold}, choose one in (0, 1]")


# What the released implementation of EGTR prints.
REFERENCE = Protocol(name="reference", iou_plus_one=True)

PROTOCOLS = {protocol.name: protocol for protocol in (REFERENCE,)}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """The protocol of that name; a :class:`Protocol` is returned as it is.

    Raises:
        EGTRError: no protocol has that name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise EGTRError(f"scoring protocol {protocol!r} is unknown, choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]
