"""Graphs that leave the program: JSON by its schema, networkx and the files that it writes."""

import json
import re
from pathlib import Path

import jsonschema
import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egtr.structures import PredictionError, SceneGraph

VALIDATOR = jsonschema.Draft202012Validator(SceneGraph.json_schema())


def make_graph(**options):
    """A person on a horse, seen by three queries of five, in a video."""
    fields = {
        "boxes": [[10, 20, 30.25, 40.5], [5, 30, 60, 90], [-1.5, 0, 80, 101]],
        "classes": [1, 0, 2],
        "scores": [0.9, 0.8, 0.1234567],
        "presence": [0.75, 1, 0.0123456],
        "triplets": [[0, 1, 1], [1, 2, 0]],
        "triplet_scores": [0.5, 0.25],
        "image_size": (100, 80),
        "class_names": ("horse", "person", "Wiese <ä & é>"),
        "predicate_names": ("on", "riding"),
        "query_index": [4, 0, 2],
        "triplet_queries": [[3, 0], [0, 2]],
        "file_name": "rodeo.mp4",
        "frame": 12,
        "time": 0.48,
        "warnings": ("the model knows no horses",),
    }
    return SceneGraph(**{**fields, **options})


def test_dict_by_hand():
    assert make_graph().to_dict() == {
        "version": 1,
        "source": {"file_name": "rodeo.mp4", "frame": 12, "time": 0.48},
        "warnings": ["the model knows no horses"],
        "image_size": {"height": 100, "width": 80},
        "objects": [
            {
                "id": 0, "class": "person", "class_id": 1, "score": 0.9, "presence": 0.75, "probability": None,
                "box": [10, 20, 30.25, 40.5], "query": 4,
            },
            {
                "id": 1, "class": "horse", "class_id": 0, "score": 0.8, "presence": 1.0, "probability": None,
                "box": [5, 30, 60, 90], "query": 0,
            },
            {
                "id": 2, "class": "Wiese <ä & é>", "class_id": 2, "score": 0.123457, "presence": 0.012346,
                "probability": None, "box": [-1.5, 0, 80, 101], "query": 2,
            },
        ],
        "relations": [
            {"subject": 0, "object": 1, "predicate": "riding", "predicate_id": 1, "score": 0.5,
             "probability": None, "precision": None, "queries": [3, 0]},
            {"subject": 1, "object": 2, "predicate": "on", "predicate_id": 0, "score": 0.25,
             "probability": None, "precision": None, "queries": [0, 2]},
        ],
        "class_names": ["horse", "person", "Wiese <ä & é>"],
        "predicate_names": ["on", "riding"],
    }  # fmt: skip


def test_given_boxes_by_hand():
    record = make_graph(given=[True, False, True], given_by="box_queries").to_dict()
    VALIDATOR.validate(record)
    assert record["given_by"] == "box_queries"
    assert [entry["given"] for entry in record["objects"]] == [True, False, True]
    again = SceneGraph.from_dict(record)
    assert again.given_by == "box_queries" and again.given.tolist() == [True, False, True]
    kept = again.select(np.array([True, False, True]), [])
    assert kept.given.tolist() == [True, True]
    # graphs without given boxes say nothing of them
    plain = SceneGraph.from_dict(make_graph().to_dict())
    assert plain.given is None and plain.given_by is None


@st.composite
def graphs(draw):
    n, c, r, seed = (draw(st.integers(*span)) for span in ((0, 6), (1, 4), (1, 3), (0, 10**6)))
    k = draw(st.integers(0, 5)) if n else 0
    rng = np.random.RandomState(seed)
    named = draw(st.booleans())
    return SceneGraph(
        boxes=rng.uniform(-1000, 9000, (n, 4)),
        classes=rng.randint(0, c, n),
        scores=rng.uniform(0, 1, n).round(draw(st.integers(0, 8))),
        triplets=np.column_stack([rng.randint(0, max(n, 1), (k, 2)), rng.randint(0, r, k)]),
        triplet_scores=-np.sort(-rng.uniform(0, 1, k)),
        image_size=(draw(st.integers(1, 9000)), draw(st.integers(1, 9000))),
        class_names=tuple(f"c{i}" for i in range(c)) if named else None,
        predicate_names=tuple(f"p{i}" for i in range(r)) if named else None,
        query_index=rng.permutation(n),
        presence=rng.uniform(0, 1, n) if named else None,
        object_probabilities=rng.uniform(0, 1, n) if named else None,
        triplet_probabilities=rng.uniform(0, 1, k) if named else None,
        triplet_precisions=rng.uniform(0, 1, k) if named else None,
        file_name=draw(st.none() | st.text(max_size=5)),
        frame=draw(st.none() | st.integers(0, 10**6)),
        time=draw(st.none() | st.floats(0, 10**5)),
    )


@given(graphs())
def test_round_trip_through_a_valid_file(graph):
    text = json.dumps(graph.to_dict(), allow_nan=False)
    record = json.loads(text)
    VALIDATOR.validate(record)
    again = SceneGraph.from_dict(record)
    assert again.to_dict() == graph.to_dict()
    assert again.triplets.tolist() == graph.triplets.tolist()
    assert again.query_index.tolist() == graph.query_index.tolist()
    assert again.triplet_queries.tolist() == graph.triplet_queries.tolist()
    # half of the last digit that is written, and what float32 cannot hold of numbers up to 9000
    np.testing.assert_allclose(again.boxes, graph.boxes, atol=0.0056)
    np.testing.assert_allclose(again.triplet_scores, graph.triplet_scores, atol=6e-7)


def test_the_schema_is_one_and_refuses_what_is_no_graph():
    jsonschema.Draft202012Validator.check_schema(SceneGraph.json_schema())
    record = make_graph().to_dict()
    for path, value in (
        (("version",), 2),
        (("relations", 0, "queries"), [1]),
        (("objects", 1, "box"), [1, 2, 3]),
        (("objects", 1, "score"), 1.5),
        (("source", "frame"), "first"),
        (("image_size", "width"), 0),
    ):
        broken = json.loads(json.dumps(record))
        node = broken
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        (error,) = VALIDATOR.iter_errors(broken)
        assert tuple(error.absolute_path)[: len(path)] == path


def test_the_documented_example_is_valid():
    page = Path(__file__).resolve().parents[2] / "docs/scene_graph_json.md"
    (example,) = re.findall(r"```json\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    record = json.loads(example)
    VALIDATOR.validate(record)
    assert SceneGraph.from_dict(record).to_dict() == record


def test_files_of_the_first_release_are_read():
    """They know neither queries nor presence, source and warnings."""
    record = make_graph(query_index=None, triplet_queries=None).to_dict()
    del record["source"], record["warnings"]
    for entry in record["objects"]:
        del entry["query"], entry["presence"]
    for entry in record["relations"]:
        del entry["queries"]
    graph = SceneGraph.from_dict(record)
    assert graph.query_index.tolist() == [0, 1, 2] and graph.triplet_queries.tolist() == [[0, 1], [1, 2]]
    assert (graph.file_name, graph.frame, graph.time, graph.presence) == (None, None, None, None)
    assert graph.warnings == ()


@pytest.mark.parametrize(("path", "value", "message"), [
    (("version",), 99, "version 99 is not 1"),
    (("objects",), None, "objects: None is not of type 'array'"),
    (("objects", 0, "box"), [1, 2, 3], r"objects\[0\].box: \[1, 2, 3\] is too short"),
    (("objects", 0, "class_id"), 3, r"class id outside 0\.\.2"),
    (("objects", 0, "class_id"), "person", r"objects\[0\].class_id: 'person' is not of type 'integer'"),
    (("objects", 0, "query"), 10**30, r"objects\[0\].query: 10{30} is greater than the maximum"),
    (("relations", 0, "predicate_id"), -1, r"relations\[0\].predicate_id: -1 is less than the minimum of 0"),
    (("relations", 1, "predicate_id"), 2, r"predicate id outside 0\.\.1"),
    (("relations", 0, "subject"), 3, r"objects outside 0\.\.2"),
    (("image_size",), {"height": 3}, "image_size: 'width' is a required property"),
    (("source",), "rodeo.mp4", "source: 'rodeo.mp4' is not of type 'object'"),
    # relations would join other objects than are meant
    (("objects", 0, "id"), 1, "'id' of the objects is not their place"),
    (("relations", 1, "score"), 0.75, "not by descending score"),
])  # fmt: skip
def test_what_is_wrong_with_a_record_is_named(path, value, message):
    record = json.loads(json.dumps(make_graph().to_dict()))
    node = record
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(PredictionError, match=f"scene graph: .*{message}"):
        SceneGraph.from_dict(record)
    with pytest.raises(PredictionError, match="JSON object is needed, not list"):
        SceneGraph.from_dict([record])


def test_networkx_by_hand():
    graph = make_graph().to_networkx()
    assert graph.graph == {"width": 80, "height": 100, "file_name": "rodeo.mp4", "frame": 12, "time": 0.48}
    assert graph.nodes[0] == {
        "label": "person", "class_id": 1, "score": pytest.approx(0.9), "query_index": 4,
        "x1": 10.0, "y1": 20.0, "x2": 30.25, "y2": 40.5,
    }  # fmt: skip
    assert list(graph.edges(keys=True)) == [(0, 1, 0), (1, 2, 1)]
    assert graph.edges[0, 1, 0] == {
        "label": "riding", "predicate_id": 1, "score": 0.5, "subject_query": 3, "object_query": 0,
    }  # fmt: skip
    # pixels have no file, and most formats no None
    assert make_graph(file_name=None, frame=None, time=None).to_networkx().graph == {"width": 80, "height": 100}


def test_what_xml_cannot_hold_is_replaced(tmp_path):
    """\udcff is how Python spells the byte FF in the name of a file, \x01 is a control character."""
    names = {"class_names": ("horse", "per\x01son", "meadow"), "file_name": "a\udcff 😀.png"}
    networkx.write_graphml(make_graph(**names).to_networkx(), tmp_path / "graph.graphml")
    again = networkx.read_graphml(tmp_path / "graph.graphml")
    assert again.graph["file_name"] == "a\ufffd 😀.png" and again.nodes["0"]["label"] == "per\ufffdson"


def test_several_predicates_of_a_pair_are_several_edges():
    graph = make_graph(
        triplets=[[0, 1, 1], [0, 1, 0], [1, 0, 0]], triplet_scores=[0.5, 0.4, 0.3], triplet_queries=None
    )
    assert sorted(graph.to_networkx().edges(keys=True)) == [(0, 1, 0), (0, 1, 1), (1, 0, 2)]


def node_link(graph, path):
    path.write_text(json.dumps(networkx.node_link_data(graph, edges="edges")), "utf-8")


def read_node_link(path):
    return networkx.node_link_graph(json.loads(path.read_text("utf-8")), edges="edges")


@pytest.mark.parametrize(("write", "read"), [
    (networkx.write_graphml, lambda path: networkx.read_graphml(path, node_type=int, force_multigraph=True)),
    (networkx.write_gexf, lambda path: networkx.read_gexf(path, node_type=int)),
    (node_link, read_node_link),
])  # fmt: skip
def test_every_format_keeps_nodes_and_edges(tmp_path, write, read):
    rows = {"triplets": [[0, 1, 1], [0, 1, 0], [1, 2, 0]], "triplet_scores": [0.5, 0.25, 0.125]}
    write(make_graph(**rows, triplet_queries=None).to_networkx(), tmp_path / "graph")
    again = read(tmp_path / "graph")
    assert again.is_directed() and again.is_multigraph()
    assert {n: (d["label"], d["x2"], d["query_index"]) for n, d in again.nodes(data=True)} == {
        0: ("person", 30.25, 4), 1: ("horse", 60.0, 0), 2: ("Wiese <ä & é>", 80.0, 2),
    }  # fmt: skip
    edges = {(u, v, d["label"], d["score"], d["subject_query"]) for u, v, d in again.edges(data=True)}
    assert edges == {(0, 1, "riding", 0.5, 4), (0, 1, "on", 0.25, 4), (1, 2, "on", 0.125, 0)}
