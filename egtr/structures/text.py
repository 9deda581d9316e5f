"""Scene graphs for the terminal."""

from typing import TYPE_CHECKING

from tabulate import tabulate

if TYPE_CHECKING:
    from .scene_graph import SceneGraph

# Longer graphs are cut.
NUM_PRINTED = 20


def summarize(graph: "SceneGraph") -> str:
    """Where the graph comes from and how large it is, in one line."""
    where = graph.file_name or "a picture"
    if graph.frame is not None:
        where = f"frame {graph.frame} of {graph.file_name or 'a camera'}"
    height, width = graph.image_size
    counts = ((len(graph.boxes), "object"), (len(graph), "relation"))
    counted = ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts)
    return f"SceneGraph of {where} ({width} x {height}): {counted}"


def to_text(graph: "SceneGraph") -> str:
    """The summary, and the best triplets as a table; (3) is the index of an object in the graph."""
    # A row like all others: tabulate pads headers by two more spaces.
    rows = [["", "score", "subject", "predicate", "object"]]
    for (s, o, p), score in zip(graph.triplets[:NUM_PRINTED].tolist(), graph.triplet_scores, strict=False):
        names = (f"{graph.class_name(s)} ({s})", graph.predicate_name(p), f"{graph.class_name(o)} ({o})")
        rows.append([f"{len(rows)}", f"{score:.3f}", *names])
    lines = [summarize(graph)]
    if len(graph):
        align = ("right", *["left"] * 4)
        table = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)
        lines += [f"  {line}".rstrip() for line in table.splitlines()]
    if len(graph) > NUM_PRINTED:
        lines.append(f"  and {len(graph) - NUM_PRINTED} more; filter() and for_display() choose")
    return "\n".join(lines)
