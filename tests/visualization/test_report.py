"""Reports, without a browser: what is written, and whether hits and recall are what evaluation says."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from egtr.structures import EGTRError, GroundTruth, SceneGraph
from egtr.visualization.report import (
    ReportWriter,
    assets,
    compare_with_truth,
    encode_image,
    read_graph_library,
    to_json,
)
from tests.visualization.report_scenes import (
    BOXES,
    CALIBRATION,
    CLASSES,
    EVIL,
    PREDICATES,
    make_image,
    make_prediction,
    read_element,
)


def test_hits_ranks_and_twins():
    comparison = make_image().comparison
    # "man rides horse" is hit at the first place, "horse near man" by nothing.
    assert comparison.hits == ((0,), ())
    assert comparison.ranks == (1, None)
    assert comparison.twins == (0, 1, 2)
    assert comparison.recall(20) == 0.5


def test_a_box_beside_the_annotated_one_is_no_hit():
    # Moved by its own width, the man's box does not touch the annotated one any more.
    moved = BOXES + np.array([[60, 0, 60, 0], [0] * 4, [0] * 4], dtype=np.float32)
    prediction = make_prediction(moved)
    graph = SceneGraph.from_prediction(prediction, CLASSES, PREDICATES).for_display()
    truth = GroundTruth(BOXES, np.arange(3), np.array([[0, 1, 0]]))
    comparison = compare_with_truth(graph, prediction, truth)
    assert (comparison.hits, comparison.ranks) == (((), ()), (None,))
    assert comparison.twins == (None, 1, 2)


def test_repeated_annotations_count_once_and_none_is_no_recall():
    prediction = make_prediction()
    graph = SceneGraph.from_prediction(prediction, CLASSES, PREDICATES).for_display()
    twice = GroundTruth(BOXES, np.arange(3), np.array([[0, 1, 0], [0, 1, 0], [1, 0, 1]]))
    assert compare_with_truth(graph, prediction, twice).recall(20) == 0.5
    nothing = GroundTruth(BOXES, np.arange(3), np.zeros((0, 3)))
    assert compare_with_truth(graph, prediction, nothing).recall(20) is None


def test_json_cannot_leave_its_element():
    text = to_json({"name": EVIL, "more": "<!-- & -->"})
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {"name": EVIL, "more": "<!-- & -->"}


def test_images_become_small_webp():
    image = Image.open(io.BytesIO(base64.b64decode(encode_image(np.zeros((900, 1600, 3), dtype=np.uint8)))))
    assert (image.format, image.size) == ("WEBP", (640, 360))
    small = Image.open(io.BytesIO(base64.b64decode(encode_image(np.zeros((30, 40, 3), dtype=np.uint8)))))
    assert small.size == (40, 30)


def test_written_page(tmp_path):
    path = tmp_path / "new folder" / "report.html"
    with ReportWriter(path, title="A & <b> {{data}}") as report:
        report.add(make_image())
        report.add(make_image("plain.jpg", explained=False, annotated=False))
    page = path.read_text("utf-8")
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert "<title>A &amp; &lt;b&gt; {{data}}</title>" in page
    # Images stand in the body, before the code that reads them.
    assert page.index('<div class="page">') < page.index('id="record-0"') < page.index("class ImageIndex")
    # Names stand in the page as data only.
    assert EVIL not in page and "onerror" in page
    record = json.loads(read_element(page, "record-0"))
    assert [relation["predicate"] for relation in record["graph"]["relations"]] == list(PREDICATES)
    assert record["explanations"][0]["gates"] == [0.5, 0.25]
    assert record["comparison"]["recall"] == {"20": 0.5, "50": 0.5, "100": 0.5}
    assert json.loads(read_element(page, "record-1"))["comparison"] is None
    index = json.loads(read_element(page, "index"))
    names, (first, second) = index["names"], index["images"]
    assert [[names[i] for i in edge[:3]] for edge in first["edges"]] == [
        ["man", "rides", "horse"],
        [EVIL, PREDICATES[1], "man"],
    ]
    assert first["recall"] == 0.5 and "recall" not in second
    # The second image has no annotations, so that the mean is the first one's.
    assert report.mean_recall() == {20: 0.5, 50: 0.5, 100: 0.5}
    assert report.size.total == path.stat().st_size
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("calibration", "stated", "error"),
    [
        # Relations of scores 0.8 and 0.4, of which the first is right: (|0.8 - 1| + |0.4 - 0|) / 2.
        (None, "score", 0.3),
        # Their probabilities are 0.4 and 0.2: (0.6 + 0.2) / 2.
        (CALIBRATION, "probability", 0.4),
    ],
)
def test_reliability_of_what_is_shown(calibration, stated, error, tmp_path):
    with ReportWriter(tmp_path / "report.html", calibration=calibration, exhaustive=True) as report:
        report.add(make_image())
        report.add(make_image("plain.jpg", annotated=False))
    found = json.loads(read_element((tmp_path / "report.html").read_text("utf-8"), "index"))["reliability"]
    assert found == json.loads(to_json(report.reliability))
    assert (found["num_images"], found["relations"]["number"], found["objects"]["number"]) == (1, 2, 3)
    assert found["relations"][stated]["ECE"] == pytest.approx(error, abs=1e-5)
    assert found["relations"]["score"]["bins"] == [[pytest.approx(0.4), 0, 1], [pytest.approx(0.8), 1, 1]]
    assert ("probability" in found["relations"]) == ("precision" in found) == (calibration is not None)
    assert "note" not in found


def test_reliability_on_sparse_annotations_has_a_note_and_on_none_is_missing(tmp_path):
    for annotated in (True, False):
        with ReportWriter(tmp_path / "report.html") as report:
            report.add(make_image(annotated=annotated))
        if annotated:
            assert "chances of being annotated, not of being true" in report.reliability["note"]
        else:
            assert report.reliability is None


def test_an_interrupted_report_has_the_images_so_far(tmp_path):
    with pytest.raises(KeyboardInterrupt), ReportWriter(tmp_path / "report.html") as report:
        report.add(make_image())
        raise KeyboardInterrupt
    assert len(json.loads(read_element((tmp_path / "report.html").read_text("utf-8"), "index"))["images"]) == 1
    with pytest.raises(KeyboardInterrupt), ReportWriter(tmp_path / "empty.html"):
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_report_without_images_is_not_written(tmp_path):
    (tmp_path / "report.html").write_text("of last week")
    with (
        pytest.raises(EGTRError, match=r"report\.html: is not written.*no image"),
        ReportWriter(tmp_path / "report.html"),
    ):
        pass
    assert [file.read_text() for file in tmp_path.iterdir()] == ["of last week"]


def test_the_library_cannot_end_its_element():
    code = read_graph_library()
    assert "</script" not in code.lower() and "sourceMappingURL" not in code


def test_the_library_has_its_licence_beside_it():
    version = re.search(r"@version (\S+)", read_graph_library())[1]
    terms = assets.read_asset("vis-network.LICENSE.txt")
    assert f"vis-network {version} " in terms and "Permission is hereby granted, free of charge" in terms
