"""Scoring conventions of scene graphs under a name, and tasks.

Codebases of the field differ in small conventions that move every number. A :class:`Protocol` holds one value
for each, so that a metric is only ever reported together with the conventions behind it.
"""

from dataclasses import dataclass, replace

from egtr.structures import ConfigurationError
from egtr.structures.prediction import OBJECT_SCORES

# The input of the model: only the image, or also the annotated boxes, or also their classes.
TASKS = ("sgdet", "sgcls", "predcls")
ENTRIES = ("pair", "triplet", "all")
MATCHING = ("all", "best")
RECALLS = ("image", "micro")
OI_RECALLS = ("micro", "image")
OBJECT_APS = ("class", "query")
AP_PLUS_ONE = ("none", "found", "both")


@dataclass(frozen=True)
class Protocol:
    """One value for every convention. Derive your own protocol with :func:`dataclasses.replace`.

    Attributes:
        name: names the results in reports.
        object_score: "softmax" over the class logits, as in detectors with a background class, or "sigmoid", as in
            the training of DETR's descendants. It is a factor of a triplet's score.
        iou_threshold: the least overlap of subject and of object with the ground truth, in 0..1; 0.5 throughout the
            field.
        iou_plus_one: a box x1..x2 is x2 - x1 + 1 pixels wide, as if corners were pixels. Fast R-CNN did so;
            codebases on Detectron2 do not.
        iou_area_plus_one: with ``iou_plus_one``, the areas of the boxes have the pixel, too; otherwise only
            intersections have it, and an IoU can exceed 1.
        matching: "all": a predicted object matches every annotated object of its class that it overlaps enough.
            "best": only the one that it overlaps most, so that one prediction cannot stand for two neighbours.
        single_instance: of the queries of one class that overlap each other by at least ``iou_threshold``, only the
            one with the best score takes part in rankings, so that finding an object several times gains nothing.
        entries: the rows that enter a ranking if a record lists one (subject, object) in several rows. "pair": one
            row with the best of each predicate, so that a pair has one entry under graph constraint. "triplet":
            each row, but each (subject, object, predicate) once, so that repeating a triplet gains nothing.
            "all": each row, as triplet queries give them. If every pair is listed once, as by EGTR, the three are
            the same.
        skip_images_without_pairs: images without a predicted pair of two objects are left out of all metrics of
            triplets but the Open Images block, because some loops skip empty outputs; otherwise they score 0.
        deduplicate_ground_truth: a triplet that an image lists twice counts once; otherwise repeated annotations
            weigh more.
        absent_predicates_count: predicates that no image of the test set has count 0 in means over predicates,
            because a fixed divisor R makes test sets comparable; otherwise they are left out.
        recall: the R@K of triplets and phrases. "image": mean over images, or "micro": hits over triplets of the
            whole dataset. "micro" concerns "R@K" and "phr-R@K" (and F1@K, which is made of R@K), not means over
            predicates.
        ng_predicates: the number of predicates, the best ones, with which a pair enters a ranking without graph
            constraint; None: all.
        object_ap: the detections of "AP", "AP50" and so on. "class": the 100 best (query, class) by sigmoid score, as
            COCO's tools take them, or "query": one detection for each query, its best class by ``object_score``.
        ap_plus_one: the boxes that are one pixel wider and higher in that AP: "none", "found" (only the predicted
            ones) or "both".
        ap_first_id: number of the first annotation in that AP, see ``oi_first_id``.
        oi_recall: the R@50 that enters the Open Images score. "micro": hits over triplets of the whole dataset, as
            in the challenge's code, or "image": mean over images, like R@K.
        oi_plus_one: adds the pixel of ``iou_plus_one`` in the Open Images block as its released code does: to
            intersections but not to areas in wmAP, and to the sides of boxes in its object AP.
        oi_area_plus_one: with ``oi_plus_one``, the areas in wmAP have the pixel, too.
        oi_self_pairs: pairs of a query with itself, if they are listed, are candidates of that block.
        oi_empty_images_count: in the R@50 per image of that block an image without triplets counts 0; otherwise it is
            left out.
        oi_first_id: number of the first annotation in the object AP of that block. The released code counts from 0,
            and COCO's tool mistakes a match with number 0 for none, which loses one object. Published numbers include
            this error.

    The list of zero-shot triplets is data, not a convention: the scorer takes the training set's triplets and calls
    all others new, or takes a fixed list. Object AP ("AP") is COCO's whatever the protocol.
    """

    name: str
    object_score: str = "softmax"
    iou_threshold: float = 0.5
    iou_plus_one: bool = False
    iou_area_plus_one: bool = True
    matching: str = "all"
    single_instance: bool = False
    entries: str = "pair"
    skip_images_without_pairs: bool = False
    deduplicate_ground_truth: bool = True
    absent_predicates_count: bool = True
    recall: str = "image"
    ng_predicates: int | None = None
    object_ap: str = "class"
    ap_plus_one: str = "none"
    ap_first_id: int = 1
    oi_recall: str = "micro"
    oi_plus_one: bool = False
    oi_area_plus_one: bool = False
    oi_self_pairs: bool = True
    oi_empty_images_count: bool = False
    oi_first_id: int = 1

    def __post_init__(self):
        for field, allowed in (
            ("object_score", OBJECT_SCORES),
            ("entries", ENTRIES),
            ("matching", MATCHING),
            ("recall", RECALLS),
            ("object_ap", OBJECT_APS),
            ("ap_plus_one", AP_PLUS_ONE),
            ("ap_first_id", (0, 1)),
            ("oi_recall", OI_RECALLS),
            ("oi_first_id", (0, 1)),
        ):
            if getattr(self, field) not in allowed:
                raise ConfigurationError(
                    f"protocol {self.name!r}: {field} is {getattr(self, field)!r}, "
                    f"choose one of {', '.join(map(str, allowed))}"
                )
        if self.ng_predicates is not None and self.ng_predicates < 1:
            raise ConfigurationError(
                f"protocol {self.name!r}: ng_predicates is {self.ng_predicates}, choose at least 1, or None for all"
            )
        if not 0 < self.iou_threshold <= 1:
            raise ConfigurationError(
                f"protocol {self.name!r}: iou_threshold is {self.iou_threshold}, choose one in (0, 1]"
            )


# The numbers of the released implementation of EGTR.
REFERENCE = Protocol("reference", iou_plus_one=True, oi_plus_one=True, oi_first_id=0)
# The numbers of Scene-Graph-Benchmark, the successor of Neural Motifs. It has no Open Images block; the one here is
# that of PySGG, which is built on it.
MOTIFS = Protocol(
    "motifs",
    iou_plus_one=True,
    entries="all",
    skip_images_without_pairs=True,
    deduplicate_ground_truth=False,
    object_ap="query",
    ap_plus_one="both",
    ap_first_id=0,
    oi_plus_one=True,
    oi_area_plus_one=True,
    oi_empty_images_count=True,
    oi_first_id=0,
)
# The numbers of PySGG: recall as in Scene-Graph-Benchmark, and the Open Images block of Large-Scale-VRD.
PYSGG = replace(MOTIFS, name="pysgg")
# The numbers of Large-Scale-VRD and its successors on the VRD dataset, whose two rankings have 1 and 70 predicates a
# pair.
VRD = replace(
    MOTIFS, name="vrd", skip_images_without_pairs=False, recall="micro", ng_predicates=70, oi_empty_images_count=False
)
# The numbers of OpenPSG, for boxes.
OPENPSG = Protocol("openpsg", entries="all", skip_images_without_pairs=True, deduplicate_ground_truth=False)
# The numbers of SGG-Benchmark, the code of REACT. It adds the pixel to intersections only.
SGG_BENCHMARK = replace(
    MOTIFS, name="sgg_benchmark", iou_area_plus_one=False, skip_images_without_pairs=False, ap_plus_one="found"
)
# The numbers of SGBench, for boxes.
SGBENCH = Protocol("sgbench", matching="best", entries="triplet", absent_predicates_count=False)
# `reference` with the box sizes of codebases on Detectron2.
IOU0 = Protocol("iou0")
# The numbers of RelTR: triplet queries and ground truth are scored as they are.
NO_PAIR_DEDUP = Protocol(
    "no_pair_dedup", iou_plus_one=True, entries="all", deduplicate_ground_truth=False, oi_plus_one=True
)
# Our choice: scores as trained and areas by geometry. Each triplet that can be found counts once, and nothing else.
STRICT = Protocol("strict", object_score="sigmoid", absent_predicates_count=False)
# `reference`, with one prediction for each object.
SINGLE = replace(REFERENCE, name="single", single_instance=True)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        *(REFERENCE, MOTIFS, PYSGG, VRD, OPENPSG, SGG_BENCHMARK, SGBENCH),
        *(IOU0, NO_PAIR_DEDUP, STRICT, SINGLE),
    )
}


def named_protocol(name: str) -> Protocol:
    """Return the protocol of that name.

    Raises:
        ConfigurationError: no protocol has that name.
    """
    if name not in PROTOCOLS:
        raise ConfigurationError(f"scoring protocol {name!r} is unknown, choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
