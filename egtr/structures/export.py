"""Scene graphs for other programs: JSON and networkx."""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .errors import PredictionError

if TYPE_CHECKING:
    import jsonschema
    import networkx

# Increased if a reader of the previous version would misread a file, but not if fields are only added.
FORMAT_VERSION = 1
# Fields that files of the first release lack.
_NEW_FIELDS = ("source", "query", "queries", "presence", "warnings", "probability", "precision")
# Control characters, and the surrogates that stand for file names that are not valid UTF-8.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_schema() -> dict[str, Any]:
    """Read the JSON Schema that comes with the package."""
    return json.loads(files(__package__).joinpath("scene_graph.schema.json").read_text("utf-8"))


def to_dict(graph: Any) -> dict[str, Any]:
    """Return the record that :meth:`egtr.structures.SceneGraph.to_dict` describes."""
    height, width = graph.image_size
    presence, found = (_numbers(values, len(graph.boxes)) for values in (graph.presence, graph.object_probabilities))
    probabilities, precisions = (
        _numbers(values, len(graph.triplets)) for values in (graph.triplet_probabilities, graph.triplet_precisions)
    )
    # Only graphs of given boxes have these fields.
    given_by = {} if graph.given is None else {"given_by": graph.given_by}
    given = [{}] * len(graph.boxes) if graph.given is None else [{"given": bool(flag)} for flag in graph.given]
    return {
        "version": FORMAT_VERSION,
        "source": {
            "file_name": graph.file_name,
            "frame": graph.frame,
            "time": None if graph.time is None else round(graph.time, 3),
        },
        "warnings": list(graph.warnings),
        **given_by,
        "image_size": {"height": int(height), "width": int(width)},
        "objects": [
            {
                "id": i,
                "class": graph.class_name(i),
                "class_id": int(graph.classes[i]),
                "score": round(float(graph.scores[i]), 6),
                "presence": presence[i],
                "probability": found[i],
                "box": [round(float(v), 2) for v in graph.boxes[i]],
                "query": int(graph.query_index[i]),
                **given[i],
            }
            for i in range(len(graph.boxes))
        ],
        "relations": [
            {
                "subject": s,
                "object": o,
                "predicate": graph.predicate_name(p),
                "predicate_id": p,
                "score": round(float(graph.triplet_scores[row]), 6),
                "probability": probabilities[row],
                "precision": precisions[row],
                "queries": graph.triplet_queries[row].tolist(),
            }
            for row, (s, o, p) in enumerate(graph.triplets.tolist())
        ],
        "class_names": list(graph.class_names) if graph.class_names else None,
        "predicate_names": list(graph.predicate_names) if graph.predicate_names else None,
    }


def _numbers(values: Any, count: int) -> list[float | None]:
    return [None] * count if values is None else [round(float(value), 6) for value in values]


def from_dict(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the :class:`~egtr.structures.SceneGraph` whose ``to_dict`` made ``record``.

    Raises:
        PredictionError: ``record`` does not fit the schema, its numbers contradict one another, or its version is one
            that this release does not know.
    """
    if not isinstance(record, dict):
        raise PredictionError(f"scene graph: a JSON object is needed, not {type(record).__name__}")
    if record.get("version") != FORMAT_VERSION:
        raise PredictionError(f"scene graph: version {record.get('version')!r} is not {FORMAT_VERSION}")
    error = next(_validator().iter_errors(record), None)
    if error is not None:
        raise PredictionError(f"scene graph: {error.json_path.removeprefix('$.')}: {error.message:.200}")
    objects, relations, size = record["objects"], record["relations"], record["image_size"]
    class_names, predicate_names = record["class_names"], record["predicate_names"]
    # Conditions that a schema cannot express.
    if [entry["id"] for entry in objects] != list(range(len(objects))):
        raise PredictionError("scene graph: field 'id' of the objects is not their place in the list, 0, 1, 2, ...")
    scores = [relation["score"] for relation in relations]
    if scores != sorted(scores, reverse=True):
        raise PredictionError("scene graph: the relations are not by descending score; sort them")
    for entries, field, names in ((objects, "class_id", class_names), (relations, "predicate_id", predicate_names)):
        if names and any(entry[field] >= len(names) for entry in entries):
            raise PredictionError(f"scene graph: {field.replace('_', ' ')} outside 0..{len(names) - 1}")
    source = record.get("source", {})
    fields = {
        "boxes": [entry["box"] for entry in objects],
        "classes": [entry["class_id"] for entry in objects],
        "scores": [entry["score"] for entry in objects],
        "triplets": [[relation[field] for field in ("subject", "object", "predicate_id")] for relation in relations],
        "triplet_scores": scores,
        "image_size": (int(size["height"]), int(size["width"])),
        "class_names": tuple(class_names) if class_names else None,
        "predicate_names": tuple(predicate_names) if predicate_names else None,
        "warnings": tuple(record.get("warnings", ())),
        **{field: source.get(field) for field in ("file_name", "frame", "time")},
    }
    if all("query" in entry for entry in objects):
        fields["query_index"] = [entry["query"] for entry in objects]
    for field, entries, key in (
        ("presence", objects, "presence"),
        ("object_probabilities", objects, "probability"),
        ("triplet_probabilities", relations, "probability"),
        ("triplet_precisions", relations, "precision"),
    ):
        numbers = [entry.get(key) for entry in entries]
        fields[field] = None if None in numbers else numbers
    if "given_by" in record:
        fields["given_by"] = record["given_by"]
        fields["given"] = [entry.get("given", False) for entry in objects]
    if all("queries" in relation for relation in relations):
        fields["triplet_queries"] = [relation["queries"] for relation in relations]
    return fields


@cache
def _validator() -> "jsonschema.Draft202012Validator":
    # Here, because scoring does not need it.
    import jsonschema

    schema = read_schema()
    for part in (schema, *(schema["properties"][field]["items"] for field in ("objects", "relations"))):
        part["required"] = [field for field in part["required"] if field not in _NEW_FIELDS]
    return jsonschema.Draft202012Validator(schema)


def to_networkx(record: Mapping[str, Any]) -> "networkx.MultiDiGraph":
    """Make a graph for networkx from what ``SceneGraph.to_dict`` returns.

    Nodes are 0..N-1 with ``label`` (the class), ``class_id``, ``score``, ``query_index`` and the box as ``x1``,
    ``y1``, ``x2``, ``y2``. Edges lead from subject to object; their key is the row of ``triplets`` (0 is the best).
    They have ``label`` (the predicate), ``predicate_id``, ``score``, ``subject_query`` and ``object_query``.
    Nodes have ``probability``, and edges ``probability`` and ``precision``, if the model is calibrated.
    The graph has ``width`` and ``height`` and, if they are known, ``file_name``, ``frame`` and ``time``. All values
    are plain numbers and strings, because most formats support nothing else.
    """
    # Here, because scoring does not need it.
    import networkx

    known = {key: _for_xml(value) for key, value in record["source"].items() if value is not None}
    result = networkx.MultiDiGraph(**record["image_size"], **known)
    for node in record["objects"]:
        result.add_node(
            node["id"],
            label=_for_xml(node["class"]),
            class_id=node["class_id"],
            score=node["score"],
            query_index=node["query"],
            **({} if node.get("probability") is None else {"probability": node["probability"]}),
            **dict(zip(("x1", "y1", "x2", "y2"), node["box"], strict=True)),
        )
    for row, relation in enumerate(record["relations"]):
        subject_query, object_query = relation["queries"]
        result.add_edge(
            relation["subject"],
            relation["object"],
            key=row,
            label=_for_xml(relation["predicate"]),
            predicate_id=relation["predicate_id"],
            score=relation["score"],
            subject_query=subject_query,
            object_query=object_query,
            **{key: relation[key] for key in ("probability", "precision") if relation.get(key) is not None},
        )
    return result


def _for_xml(value: Any) -> Any:
    # GraphML and GEXF are XML.
    return _NOT_XML.sub("\ufffd", value) if isinstance(value, str) else value
