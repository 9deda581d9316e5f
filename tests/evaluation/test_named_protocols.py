"""Every named protocol has the conventions that it stands for, and bad ones are refused."""

from dataclasses import replace

import pytest

from egtr.evaluation import PROTOCOLS, evaluate, get_protocol, get_protocols
from egtr.structures import EGTRError
from tests.evaluation.test_protocols import HALF, PLAIN, repeated_pair  # noqa: F401  a fixture

# The Open Images block of Large-Scale-VRD, and the object AP and ground truth of the codes on Scene-Graph-Benchmark.
MOTIFS_LINE = {
    **{"entries": "all", "deduplicate_ground_truth": False, "iou_plus_one": True},
    **{"object_ap": "query", "ap_plus_one": "both", "ap_first_id": 0},
    **{"oi_plus_one": True, "oi_area_plus_one": True, "oi_first_id": 0},
}


@pytest.mark.parametrize(
    ("name", "differs_from_plain"),
    [
        ("reference", {"iou_plus_one": True, "oi_plus_one": True, "oi_first_id": 0}),
        ("single", {"iou_plus_one": True, "oi_plus_one": True, "oi_first_id": 0, "single_instance": True}),
        ("motifs", MOTIFS_LINE | {"skip_images_without_pairs": True, "oi_empty_images_count": True}),
        ("pysgg", MOTIFS_LINE | {"skip_images_without_pairs": True, "oi_empty_images_count": True}),
        ("vrd", MOTIFS_LINE | {"recall": "micro", "ng_predicates": 70}),
        ("openpsg", {"entries": "all", "deduplicate_ground_truth": False, "skip_images_without_pairs": True}),
        (
            "sgg_benchmark",
            MOTIFS_LINE | {"iou_area_plus_one": False, "ap_plus_one": "found", "oi_empty_images_count": True},
        ),
        ("sgbench", {"matching": "best", "entries": "triplet", "absent_predicates_count": False}),
        ("iou0", {}),
        (
            "no_pair_dedup",
            {"iou_plus_one": True, "oi_plus_one": True, "deduplicate_ground_truth": False, "entries": "all"},
        ),
        ("strict", {"object_score": "sigmoid", "absent_predicates_count": False}),
    ],
)
def test_named_protocols(name, differs_from_plain):
    # PLAIN: softmax, no +1, one entry a pair, images without predictions 0, duplicates once, absent predicates 0,
    # recall as a mean over images, COCO's AP, micro recall in Open Images, annotations from 1.
    assert get_protocol(name) == replace(PLAIN, name=name, **differs_from_plain)


def test_named_protocols_on_one_scene(repeated_pair):  # noqa: F811
    # All over one scene: A0B, A0B, A1B, B0A predicted as above with A half as high, so that it is found with +1
    # only, and A0B annotated twice. R@2, the triplets being A0B, A0B, A1B, B0A:
    #   reference: A0B, B0A of three.  All that take rows as they come have A0B, A0B again: with +1 two of four.
    #   openpsg, sgbench, iou0, strict: nothing overlaps enough.
    predictions, (truth,) = repeated_pair
    predictions[0].boxes[0] = HALF
    truth.triplets = truth.triplets[[0, 0, 1, 2]]
    recalls = {name: evaluate(predictions, [truth], name, top_k=(2,))["R@2"] for name in PROTOCOLS}
    expected = dict.fromkeys(PROTOCOLS, 0) | {"reference": 2 / 3, "single": 2 / 3}
    expected |= dict.fromkeys(("motifs", "pysgg", "vrd", "sgg_benchmark", "no_pair_dedup"), 2 / 4)
    assert recalls == pytest.approx(expected)


def test_bad_protocols_are_refused():
    for field, value in (("object_score", "max"), ("entries", "rows"), ("oi_recall", "macro"), ("oi_first_id", 2)):
        with pytest.raises(EGTRError, match=f"protocol 'plain': {field} is {value!r}, choose one of"):
            replace(PLAIN, **{field: value})
    with pytest.raises(EGTRError, match="iou_threshold is 50"):
        replace(PLAIN, iou_threshold=50)
    with pytest.raises(EGTRError, match="each name once"):
        get_protocols(["strict", "strict"])
    with pytest.raises(EGTRError, match="at least one"):
        get_protocols([])
    assert [p.name for p in get_protocols(["strict", PLAIN])] == ["strict", "plain"]
    assert get_protocols("strict") == (PROTOCOLS["strict"],)
