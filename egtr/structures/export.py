"""Scene graphs for other programs: JSON and networkx."""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import EGTRError

if TYPE_CHECKING:
    import networkx

# Raised when a reader of the former version would misread a file; new fields alone do not raise it.
FORMAT_VERSION = 1
# Control characters and the surrogates of file names that are no UTF-8.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_schema() -> dict[str, Any]:
    """The JSON Schema that comes with the package."""
    return json.loads(files(__package__).joinpath("scene_graph.schema.json").read_text("utf-8"))


def from_dict(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the :class:`~egtr.structures.SceneGraph` whose ``to_dict`` made ``record``.

    Raises:
        EGTRError: a field is missing or malformed, or the version is one that this release does not know.
    """
    if not isinstance(record, Mapping):
        raise EGTRError(f"scene graph: a JSON object is needed, not {type(record).__name__}")
    if record.get("version") != FORMAT_VERSION:
        raise EGTRError(f"scene graph: version {record.get('version')!r} is not {FORMAT_VERSION}")
    try:
        objects, relations, size = record["objects"], record["relations"], record["image_size"]
        source = record.get("source") or {}
        queries = np.array([o.get("query", i) for i, o in enumerate(objects)], dtype=np.int64)
        triplets = np.array([[r["subject"], r["object"], r["predicate_id"]] for r in relations], dtype=np.int64)
        fields = {
            "boxes": np.array([o["box"] for o in objects], dtype=np.float32),
            "classes": np.array([o["class_id"] for o in objects], dtype=np.int64),
            "scores": np.array([o["score"] for o in objects], dtype=np.float32),
            "triplets": triplets,
            "triplet_scores": np.array([r["score"] for r in relations], dtype=np.float32),
            "image_size": (int(size["height"]), int(size["width"])),
            "class_names": tuple(record["class_names"]) if record.get("class_names") else None,
            "predicate_names": tuple(record["predicate_names"]) if record.get("predicate_names") else None,
            "query_index": queries,
            "file_name": source.get("file_name"),
            "frame": source.get("frame"),
            "time": source.get("time"),
        }
        # Files of the first release have none.
        if all("queries" in r for r in relations):
            fields["triplet_queries"] = np.array([r["queries"] for r in relations], dtype=np.int64)
    except KeyError as error:
        raise EGTRError(f"scene graph: field {error} is missing") from error
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise EGTRError(f"scene graph: a field holds a value of the wrong type ({error})") from error
    if [o.get("id", i) for i, o in enumerate(objects)] != list(range(len(objects))):
        raise EGTRError("scene graph: field 'id' of the objects is not their place in the list, 0, 1, 2, ...")
    if (np.diff(fields["triplet_scores"]) > 0).any():
        raise EGTRError("scene graph: the relations are not by descending score; sort them")
    for ids, names, kind in (
        (fields["classes"], fields["class_names"], "class"),
        (triplets[:, 2] if len(triplets) else triplets, fields["predicate_names"], "predicate"),
    ):
        if len(ids) and (ids.min() < 0 or (names and ids.max() >= len(names))):
            raise EGTRError(f"scene graph: {kind} id outside 0..{len(names) - 1 if names else ''}")
    return fields


def to_networkx(record: Mapping[str, Any]) -> "networkx.MultiDiGraph":
    """See :meth:`egtr.structures.SceneGraph.to_networkx`; ``record`` is what ``to_dict`` returns."""
    # Here, because scoring alone should not have to load it.
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
        )
    return result


def _for_xml(value: Any) -> Any:
    """The value; of a string what XML cannot hold, and GraphML and GEXF are XML, becomes a replacement character."""
    return _NOT_XML.sub("\ufffd", value) if isinstance(value, str) else value
