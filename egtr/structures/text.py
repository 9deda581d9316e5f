"""Scene graphs for the terminal, from the plain record that ``SceneGraph.to_dict`` returns."""

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

# Longer graphs are cut.
NUM_PRINTED = 20


def summarize(record: Mapping[str, Any]) -> str:
    """Say in one line where the graph comes from and how large it is."""
    source, size = record["source"], record["image_size"]
    where = source["file_name"] or "an image"
    if source["frame"] is not None:
        where = f"frame {source['frame']} of {source['file_name'] or 'a camera'}"
    counts = ((len(record["objects"]), "object"), (len(record["relations"]), "relation"))
    counted = ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts)
    return f"SceneGraph of {where} ({size['width']} x {size['height']}): {counted}"


def to_text(record: Mapping[str, Any]) -> str:
    """Return the summary, and the best triplets as a table; (3) is the index of an object in the graph.

    Triplets have their probability, too, if the model is calibrated.
    """
    objects, relations = record["objects"], record["relations"]
    # An ordinary row, because tabulate pads headers by two more spaces.
    rows = [["", "score", "probability", "subject", "predicate", "object"]]
    is_calibrated = any(relation.get("probability") is not None for relation in relations)
    for relation in relations[:NUM_PRINTED]:
        subject, object = (f"{objects[relation[end]]['class']} ({relation[end]})" for end in ("subject", "object"))
        probability = f"{relation['probability']:.2f}" if is_calibrated else ""
        rows.append([f"{len(rows)}", f"{relation['score']:.3f}", probability, subject, relation["predicate"], object])
    if not is_calibrated:
        rows = [[*row[:2], *row[3:]] for row in rows]
    lines = [summarize(record)]
    if relations:
        align = ("right", *["left"] * (len(rows[0]) - 1))
        table = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)
        lines += [f"  {line}".rstrip() for line in table.splitlines()]
    if len(relations) > NUM_PRINTED:
        lines.append(f"  and {len(relations) - NUM_PRINTED} more; filter() and for_display() choose")
    return "\n".join(lines)
