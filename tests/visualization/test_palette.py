"""Colours that people with and without a colour vision deficiency tell apart, and letters that can be read."""

import numpy as np
import pytest

from egtr.visualization.palette import object_colors, readable_on_white, relative_luminance, text_color

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def to_lab(colors, deficiency):
    """CIE L*a*b* (D65) of sRGB colours as seen with a deficiency."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ deficiency.T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (np.cbrt(v) for v in (linear @ to_xyz.T / (0.9505, 1.0, 1.089)).T)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("eye", DEFICIENCIES)
def test_the_seven_first_colours_differ_for_every_eye(eye):
    lab = to_lab(object_colors(7), DEFICIENCIES[eye])
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)[~np.eye(7, dtype=bool)]
    # CIE76 calls 2.3 just noticeable; 10 is seen at a glance
    assert distance.min() > 10


def test_twenty_one_colours_before_one_repeats():
    colors = object_colors(50)
    assert colors.shape == (50, 3) and colors.min() >= 0 and colors.max() <= 1
    assert len(np.unique(colors[:21], axis=0)) == 21
    assert np.array_equal(colors[:29], colors[21:50])
    assert object_colors(0).shape == (0, 3)


def test_luminance():
    # WCAG 2.1: white 1, black 0, pure green its coefficient
    assert relative_luminance((1, 1, 1)) == pytest.approx(1)
    assert relative_luminance((0, 0, 0)) == 0
    assert relative_luminance((0, 1, 0)) == pytest.approx(0.7152)


def test_letters_and_lines_can_be_read():
    for color in object_colors(21):
        letters, ground = relative_luminance(text_color(color)), relative_luminance(color)
        assert (max(letters, ground) + 0.05) / (min(letters, ground) + 0.05) >= 4.5  # WCAG AA for text
        for contrast in (3.0, 5.5):
            assert 1.05 / (relative_luminance(readable_on_white(color, contrast)) + 0.05) >= contrast
