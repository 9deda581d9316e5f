"""Colours of objects that people with and without a colour vision deficiency can tell apart."""

import numpy as np

# Okabe and Ito, "Color Universal Design" (2008), without black, which photos are full of.
BASE_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")

# Later rounds of the palette differ in lightness, which every eye sees: shares of black and white.
_ROUNDS = ((0.0, 0.0), (0.45, 0.0), (0.0, 0.5))


def object_colors(count: int) -> np.ndarray:
    """Choose colours for ``count`` objects.

    The first seven are those of Okabe and Ito, the next fourteen the same ones darkened and lightened. Then they
    repeat, so colour must never be the only distinction: labels have a number if a class occurs more than once.

    Returns:
        (count, 3) float array, RGB in 0..1.
    """
    base = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in BASE_COLORS]) / 255.0
    rounds = np.concatenate([base * (1 - black) * (1 - white) + white for black, white in _ROUNDS])
    return rounds[np.arange(count) % len(rounds)]


def text_color(background: np.ndarray) -> tuple[float, float, float]:
    """Choose black or white, by the higher contrast ratio (WCAG 2.1) on ``background``, RGB in 0..1."""
    luminance = relative_luminance(background)
    return (0.0, 0.0, 0.0) if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else (1.0, 1.0, 1.0)


def readable_on_white(color: np.ndarray, contrast: float = 3.0) -> np.ndarray:
    """Shade a colour until its contrast ratio on white is ``contrast`` (WCAG 2.1: 3 for graphics)."""
    color = np.asarray(color, dtype=np.float64)
    while 1.05 / (relative_luminance(color) + 0.05) < contrast:
        color = color * 0.95
    return color


def relative_luminance(color: np.ndarray) -> float:
    """Compute the relative luminance (WCAG 2.1), 0..1, of an sRGB colour with components in 0..1."""
    color = np.asarray(color, dtype=np.float64)[:3]
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
