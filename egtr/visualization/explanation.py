"""One edge of a scene graph and why the model draws it, on one sheet."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from egtr.structures import EdgeExplanation, ExplainedObject

from .charts import heat_map, new_figure
from .marks import INK, shorten
from .palette import object_colors, text_color
from .sheet import check_image

_MUTED = "0.55"


def draw_explanation(image: np.ndarray, explanation: EdgeExplanation) -> Figure:
    """Draw why the model draws an edge.

    The left half shows the image with subject and object, and the points that their queries read in cross-attention,
    in all decoder layers, by weight. The right half shows the gate of each relation source, the shares of the
    predicate's logit, and the attention between the two queries for each layer and head of the decoder, in both
    directions.

    Args:
        image: (H, W, 3) uint8, RGB, the explained image, of the size to which the boxes refer.
        explanation: the explanation of the edge.

    Returns:
        A matplotlib figure that is unknown to pyplot: there is nothing to close.

    Raises:
        DataError: ``image`` is not (H, W, 3) uint8.
    """
    image = check_image(image, "draw_explanation")
    colors = object_colors(2)
    layers = len(explanation.attention)
    bars = len(explanation.sources) + 4
    figure = new_figure(13.3, max(1.9 + 0.24 * bars + 0.27 * layers, 5.6))
    names = [shorten(end.name, 24) for end in (explanation.subject, explanation.object)]
    predicate = shorten(explanation.predicate, 24)
    figure.suptitle(
        f"{names[0]}  –  {predicate}  –  {names[1]}", fontsize=15, weight="bold", x=0.003, ha="left", parse_math=False
    )
    left, right = figure.subfigures(1, 2, width_ratios=(5, 7))
    _draw_image(left.subplots(), image, explanation, names, colors)
    upper, lower = right.subfigures(2, 1, height_ratios=(bars + 4, layers + 4))
    _draw_logit(upper, explanation)
    _draw_attention(lower, explanation)
    return figure


def _draw_image(axes: Axes, image: np.ndarray, explanation: EdgeExplanation, names: list[str], colors) -> None:
    height, width = image.shape[:2]
    axes.imshow(image)
    for end, name, color in zip((explanation.subject, explanation.object), names, colors, strict=True):
        x1, y1, x2, y2 = np.clip(end.box, 0, (width, height, width, height))
        for edge, line_width in (("white", 4.0), (color, 2.2)):
            axes.add_artist(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=edge, lw=line_width))
        _draw_points(axes, end, color)
        label = {"facecolor": color, "edgecolor": "none", "pad": 1.5}
        axes.text(
            x1, y1, name, color=text_color(color), fontsize=9, va="bottom", bbox=label, parse_math=False, zorder=5
        )
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    factors = [explanation.subject.score, explanation.predicate_score, explanation.object.score]
    words = [names[0], explanation.predicate, names[1]]
    if explanation.connectivity is not None:
        factors, words = [*factors, explanation.connectivity], [*words, "connected"]
    product = " × ".join(f"{shorten(word, 24)} {factor:.2f}" for word, factor in zip(words, factors, strict=True))
    has_points = explanation.subject.points is not None
    note = (
        "dots: where the two queries read the image, all layers, by weight"
        if has_points
        else ("attention to the image is dense: there are no sampling points")
    )
    axes.set_title(
        f"score {explanation.score:.2f} = {product}", loc="left", fontsize=9.5, color=INK, parse_math=False
    )
    axes.set_xlabel(note, loc="left", fontsize=8, color=_MUTED)


def _draw_points(axes: Axes, end: ExplainedObject, color: np.ndarray) -> None:
    if end.points is None:
        return
    x, y = end.points.reshape(-1, 2).T
    weights = end.point_weights.ravel()
    axes.scatter(x, y, s=60 * weights, color=color, edgecolors="white", linewidths=0.5 * (weights > 0.02), zorder=3)


def _draw_logit(figure: SubFigure, explanation: EdgeExplanation) -> None:
    gates, logit = figure.subplots(1, 2, width_ratios=(2, 3))
    names = [shorten(name, 20) for name in explanation.sources]
    if explanation.contributions is None:
        shares = [("relation head", explanation.head_logit)]
    else:
        shares = [*zip(names, explanation.contributions, strict=True), ("constant", explanation.constant)]
    shares.append(("frequency bias", explanation.frequency_bias))
    if explanation.logit_adjustment:
        shares.append(("logit adjustment", explanation.logit_adjustment))
    _draw_gates(gates, names, explanation.gates, rows=max(len(shares) + 1, len(names)))
    labels, values = zip(*shares, strict=True)
    # Each share begins where the one above it ends; the last bar is their sum.
    starts = np.concatenate([[0.0], np.cumsum(values)])
    starts[-1] = 0.0
    values = np.array([*values, explanation.logit])
    colors = ["#009E73" if value >= 0 else "#D55E00" for value in values[:-1]]
    logit.barh(range(len(values)), values, left=starts, color=[*colors, "0.35"], height=0.7)
    logit.axvline(0, color="0.7", lw=0.8, zorder=0)
    low, high = np.min([starts, starts + values]), np.max([starts, starts + values])
    space = (high - low or 1.0) / 50
    for row, (start, value) in enumerate(zip(starts, values, strict=True)):
        place = max(start, start + value) + space
        back = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        logit.text(place, row, f"{value:+.2f}", va="center", fontsize=8, color=INK, bbox=back)
    logit.set(xlim=(low - space, high + 9 * space), ylim=(max(len(values), len(names)) - 0.5, -0.5))
    logit.set_yticks(range(len(values)), [*labels, "logit"])
    title = f"logit of “{shorten(explanation.predicate, 20)}”, share by share"
    logit.set_title(title, loc="left", fontsize=10, parse_math=False)
    _bare(logit)


def _draw_gates(axes: Axes, names: list[str], values: np.ndarray | None, rows: int) -> None:
    """Draw bars beside those of the logit, of the same height."""
    axes.set_title("gate of each source", loc="left", fontsize=10)
    if values is None:
        axes.text(0, 1, "none: every source counts in full", fontsize=9, color=_MUTED, va="top")
        axes.set_axis_off()
        return
    axes.barh(range(len(values)), values, color="#0072B2", height=0.7)
    for row, gate in enumerate(values):
        axes.text(gate + 0.02, row, f"{gate:.2f}", va="center", fontsize=8, color=INK)
    axes.set(xlim=(0, 1.15), xticks=[0, 0.5, 1], ylim=(rows - 0.5, -0.5))
    axes.set_yticks(range(len(values)), names)
    _bare(axes)


def _draw_attention(figure: SubFigure, explanation: EdgeExplanation) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    layers, heads = explanation.attention.shape
    # A tenth at least, or noise would look like attention.
    highest = max(0.1, float(explanation.attention.max()), float(explanation.attention_back.max()))
    titles = ("self-attention: subject to object", "object to subject")
    for axes, values, title in zip(panels, (explanation.attention, explanation.attention_back), titles, strict=True):
        heat_map(axes, values, "Blues", 0.0, highest)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xticks(range(heads), range(heads))
        axes.set_xlabel("head", fontsize=8)
    panels[0].set_yticks(range(layers), [f"layer {layer}" for layer in range(layers)])


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.tick_params(axis="x", labelsize=8)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
