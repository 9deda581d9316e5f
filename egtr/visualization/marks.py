"""Text and the plates behind it. Units are points (1/72 inch), y downwards."""

from functools import lru_cache

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

# DejaVu comes with matplotlib: the same sheet on every machine.
FONT = "DejaVu Sans"
SMALLEST_FONT = 4.0
INK = "#333333"
FAINT = "#8A8A8A"
# Longer names are cut.
LONGEST_NAME = 28


def shorten(text: str, longest: int = LONGEST_NAME) -> str:
    """Write a text on one line, and cut it if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def pill(x: float, y: float, w: float, h: float, color, rounding: float, zorder: float) -> FancyBboxPatch:
    """Make a plate with round corners; x and y are its upper left corner."""
    style = f"round,pad=0,rounding_size={rounding}"
    return FancyBboxPatch((x, y), w, h, boxstyle=style, fc=color, ec="none", zorder=zorder)


def write(axes: Axes, x: float, y: float, text: str, size: float, color, weight="normal", ha="center", zorder=6):
    """Write a line of text around its middle."""
    font = FontProperties(family=FONT, size=size, weight=weight)
    style = {"color": color, "ha": ha, "va": "center_baseline", "zorder": zorder}
    # A "$" in a class name is a dollar, even if the matplotlibrc of the user asks for formulas.
    axes.text(x, y, text, fontproperties=font, parse_math=False, usetex=False, **style)


@lru_cache(maxsize=4096)
def _text_width(text: str, weight: str) -> float:
    # In 10 points.
    font = FontProperties(family=FONT, size=10, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]


def label_size(
    text: str, font_size: float, pad_x: float = 3.5, pad_y: float = 2.0, weight: str = "normal"
) -> tuple[float, float]:
    """Measure a label: width and height of its text with the padding around it, which shrinks with the text."""
    zoom = font_size / 10.0
    return _text_width(text, weight) * zoom + 2 * pad_x * zoom, 1.25 * font_size + 2 * pad_y * zoom
