"""Figures of the measurements of :mod:`egtr.experiments.relation_analysis`, made without pyplot's global state."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import StrMethodFormatter

from egtr.visualization.charts import heat_map, new_figure, plain, with_gray
from egtr.visualization.marks import INK, shorten
from egtr.visualization.palette import BASE_COLORS, object_colors, text_color

from .relation_analysis import ImageRelations

_MARK = BASE_COLORS[4]


def draw_attention_auc(summary: Mapping[str, Any]) -> Figure:
    """Draw the AUC of each layer and head, for attention of the subject to the object and the other way round.

    Args:
        summary: the result of :func:`~egtr.experiments.relation_analysis.summarize_relations`.
    """
    forward, reversed_ = (np.array(summary["attention"][kind]) for kind in ("auc", "auc_reversed"))
    layers, heads = forward.shape
    figure = new_figure(2 * max(0.62 * heads, 3.0) + 1.6, 0.5 * layers + 2.1)
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("subject attends to object", "object attends to subject")
    for axes, values, title in zip(panels, (forward, reversed_), titles, strict=True):
        # White is 0.5, where attention says nothing.
        drawn = heat_map(axes, values, "RdBu_r", 0.0, 1.0)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xticks(range(heads), range(heads))
        axes.set_yticks(range(layers), range(layers))
        axes.set_xlabel("head")
    panels[0].set_ylabel("decoder layer")
    figure.colorbar(drawn, ax=panels, shrink=0.9, label="AUC")
    others = {"closeness of the boxes": "closeness", "connectivity head": "connectivity"}
    known = {label: summary["others"][name] for label, name in others.items() if summary["others"][name]}
    figure.suptitle(
        f"Attention weight as a score for “this pair has a relation”\n{summary['num_related']:,} of "
        f"{summary['num_pairs']:,} pairs in {summary['num_images']:,} images; for comparison, "
        + ", ".join(f"{label} {scores['auc']:.2f}" for label, scores in known.items()),
        x=0.01, ha="left", fontsize=10,
    )  # fmt: skip
    return figure


def draw_gates(gates: Mapping[str, Any]) -> Figure:
    """Draw the mean gate of each source, over related and unrelated pairs and over the triplets of each predicate.

    Predicates come by descending count; predicates without a triplet are left out.

    Args:
        gates: the entry "gates" of a summary.
    """
    predicates = sorted(gates["predicates"].items(), key=lambda item: -item[1]["count"])
    predicates = [(name, entry) for name, entry in predicates if entry["count"]]
    rows = [gates["related"], gates["unrelated"], *(entry["gates"] for _, entry in predicates)]
    labels = ["all related pairs", "all other pairs", *(f"{name} ({e['count']:,})" for name, e in predicates)]
    sources = gates["sources"]
    figure = new_figure(1.1 * len(sources) + 3.2, 0.27 * len(rows) + 1.5)
    axes = figure.subplots()
    drawn = heat_map(axes, np.array(rows), "viridis", 0.0, 1.0)
    axes.axhline(1.5, color="white", linewidth=4)
    axes.set_xticks(range(len(sources)), sources)
    axes.set_yticks(range(len(rows)), [shorten(label, 44) for label in labels])
    plain(axes.get_yticklabels())
    axes.set_title("Mean gate of each source, by predicate (triplets)", loc="left", fontsize=10)
    figure.colorbar(drawn, ax=axes, label="gate")
    return figure


def draw_uncertainty(images: Sequence[ImageRelations], correlations: Mapping[str, float]) -> Figure:
    """Draw the uncertainty of each match against the IoU of its boxes.

    Args:
        images: the images of the summary.
        correlations: the entry "uncertainty" of a summary.
    """
    figure = new_figure(6.0, 4.2)
    axes = figure.subplots()
    iou = np.concatenate([image.iou for image in images])
    uncertainty = np.concatenate([image.uncertainty for image in images])
    # Good matches differ by orders of magnitude; without smoothing every uncertainty is 0, which has no logarithm.
    is_logarithmic = uncertainty.min() > 0
    lowest = np.log10(uncertainty.min()) - 0.1 if is_logarithmic else 0.0
    drawn = axes.hexbin(
        iou,
        uncertainty,
        gridsize=(30, 18),
        yscale="log" if is_logarithmic else "linear",
        extent=(0, 1, lowest, 0 if is_logarithmic else 1),
        norm=LogNorm(vmin=1),
        cmap="viridis",
        mincnt=1,
    )
    drawn.set_clim(1, max(10, drawn.get_array().max()))
    bar = figure.colorbar(drawn, ax=axes, label="objects, logarithmic", format=StrMethodFormatter("{x:,.0f}"))
    bar.minorticks_off()
    axes.set(xlabel="IoU of predicted and annotated box", ylabel="uncertainty", xlim=(-0.02, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"{len(iou):,} matched objects: "
        f"Spearman {correlations['spearman']:.2f}, Pearson {correlations['pearson']:.2f}",
        loc="left",
        fontsize=10,
    )
    return figure


def draw_attention_maps(
    pixels: np.ndarray, image: ImageRelations, class_names: Sequence[str], predicate_names: Sequence[str]
) -> Figure:
    """Draw an image with its objects, and beside it a map of attention between them for each layer and head.

    Rows of a map are subjects, columns are objects. A cell is darker the closer its weight is to the highest weight
    between two different objects in the same map. Framed cells are annotated relations.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        image: the relations of this image; without objects there are no maps.
        class_names, predicate_names: names of the dataset.
    """
    layers, heads, count = image.attention.shape[:3]
    side, width = 1.35, 4.8
    figure = new_figure(width + side * heads, max(side * layers + 0.7, 4.7))
    left, right = figure.subfigures(1, 2, width_ratios=(width, side * heads))
    colors = object_colors(count)
    _draw_objects(left, pixels, image, class_names, predicate_names, colors)
    panels = np.reshape(right.subplots(layers, heads, squeeze=False), (layers, heads))
    subjects, objects = np.nonzero(image.related & image.pairs)
    for layer, head in np.ndindex(layers, heads):
        axes = panels[layer, head]
        if not count:
            axes.set_axis_off()
            continue
        weights = np.where(image.pairs, image.attention[layer, head], np.nan)
        axes.imshow(weights, cmap=with_gray("Blues"), vmin=0, vmax=np.nanmax(weights, initial=1e-12))
        for subject, object_ in zip(subjects, objects, strict=True):
            frame = Rectangle((object_ - 0.5, subject - 0.5), 1, 1, fill=False, ec=_MARK, lw=1.1)
            axes.add_artist(frame)
        ticks = range(count) if count <= 10 else range(0, count, 2)
        axes.set_xticks(ticks, ticks if layer == layers - 1 else [], fontsize=6)
        axes.set_yticks(ticks, ticks if head == 0 else [], fontsize=6)
        axes.tick_params(length=0, pad=1)
        if layer == 0:
            axes.set_title(f"head {head}", fontsize=8)
        if head == 0:
            axes.set_ylabel(f"layer {layer}", fontsize=8)
    right.suptitle("attention of the subject (row) to the object (column)", fontsize=10, x=0.02, ha="left")
    return figure


def _draw_objects(figure, pixels, image, class_names, predicate_names, colors) -> None:
    axes, text_axes = figure.subplots(2, 1, height_ratios=(3, 2))
    height, width = pixels.shape[:2]
    axes.imshow(pixels)
    axes.set_axis_off()
    for number, ((x, y, w, h), color) in enumerate(zip(image.boxes * ([width, height] * 2), colors, strict=True)):
        axes.add_artist(Rectangle((x - w / 2, y - h / 2), w, h, fill=False, ec=color, lw=2))
        label = {"facecolor": color, "edgecolor": "none", "pad": 1.5}
        place = (max(x - w / 2, 0), max(y - h / 2, 0))
        axes.text(*place, str(number), color=text_color(color), fontsize=8, va="top", bbox=label)
    text_axes.set_axis_off()
    objects = [f"{number} {class_names[label]}" for number, label in enumerate(image.classes)]
    relations = [f"{objects[s]} {predicate_names[p]} {objects[o]}" for s, o, p in image.triplets]
    for column, (title, lines) in enumerate((("objects", objects), ("annotated relations (framed)", relations))):
        text = "\n".join([title, *(shorten(line, 44) for line in lines[:14]), *(["…"] if len(lines) > 14 else [])])
        style = {"fontsize": 8, "va": "top", "color": INK, "parse_math": False, "linespacing": 1.35}
        text_axes.text(0.0 if column == 0 else 0.3, 1.0, text, transform=text_axes.transAxes, **style)
