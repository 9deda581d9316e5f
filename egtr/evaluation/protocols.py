"""Scoring conventions under a name.

Codebases of the field differ in small conventions that move every number. A :class:`Protocol` holds one value
for each, so that a metric is only ever reported together with the conventions behind it.
"""

from dataclasses import dataclass

from egtr.structures import EGTRError


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
        detections: what object AP is computed of. "per_query": one detection a query, its best class with the
            score named by ``object_score``. "per_class": the 100 best (query, class) by sigmoid score.
        detection_plus_one: object AP takes boxes as w = x2 - x1 + 1, area = (w + 1)(h + 1).
        detection_first_id: number of the first ground-truth object. pycocotools takes a match with number 0
            for no match, so 0 loses one object of the data set.
    """

    name: str
    object_score: str = "softmax"
    iou_threshold: float = 0.5
    iou_plus_one: bool = False
    graph_constraint: tuple[bool, ...] = (True, False)
    deduplicate_ground_truth: bool = True
    absent_predicates_count: bool = True
    skip_images_without_pairs: bool = False
    detections: str = "per_class"
    detection_plus_one: bool = False
    detection_first_id: int = 1

    def __post_init__(self):
        for field, choices in (
            ("object_score", ("softmax", "sigmoid")),
            ("detections", ("per_query", "per_class")),
        ):
            if getattr(self, field) not in choices:
                raise EGTRError(
                    f"protocol {self.name!r}: {field} is {getattr(self, field)!r}, choose one of {', '.join(choices)}"
                )
        if not 0 < self.iou_threshold <= 1:
            raise EGTRError(f"protocol {self.name!r}: iou_threshold is {self.iou_threshold}, choose one in (0, 1]")


# What the released implementation of EGTR prints.
REFERENCE = Protocol(
    name="reference",
    iou_plus_one=True,
    detections="per_query",
    detection_plus_one=True,
    detection_first_id=0,
)

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
