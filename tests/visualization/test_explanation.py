"""The panel of an edge: its bars, cells, dots and words are those of the explanation."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from egtr.structures import EdgeExplanation, EGTRError, ExplainedObject
from egtr.visualization import draw_explanation


def make_explanation(**changes):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(8), size=(3, 2)).reshape(3, 2, 2, 4)
    subject = ExplainedObject(
        0, 0, "$cost$", 0.5, np.array([2.0, 3, 20, 30]), rng.uniform(0, 40, (3, 2, 2, 4, 2)), weights
    )
    object_ = ExplainedObject(
        1, 1, "tree", 0.8, np.array([10.0, 5, 60, 39]), rng.uniform(0, 40, (3, 2, 2, 4, 2)), weights
    )
    fields = {
        "subject": subject,
        "object": object_,
        "predicate_id": 0,
        "predicate": "near",
        "score": 0.05,
        "predicate_score": 0.5,
        "connectivity": 0.25,
        "connectivity_logit": -1.1,
        "logit": 0.5,
        "head_logit": -2.0,
        "frequency_bias": 2.25,
        "logit_adjustment": 0.25,
        "sources": ("layer 0", "last state"),
        "gates": np.array([0.25, 1.0]),
        "contributions": np.array([-3.0, 0.5]),
        "constant": 0.5,
        "attention": rng.uniform(0, 0.5, (3, 2)),
        "attention_back": rng.uniform(0, 0.5, (3, 2)),
    }
    return EdgeExplanation(**fields | changes)


IMAGE = np.full((40, 64, 3), 200, dtype=np.uint8)


def panels(explanation):
    figure = draw_explanation(IMAGE, explanation)
    # Drawing is what finds texts that are no formulas.
    figure.canvas.draw()
    image, gates, logit, forward, back = figure.axes
    return figure, image, gates, logit, forward, back


def bars(axes):
    return [(patch.get_x(), patch.get_width()) for patch in axes.patches]


def test_everything_is_there():
    explanation = make_explanation()
    figure, image, gates, logit, forward, back = panels(explanation)
    assert figure.get_suptitle() == "$cost$  –  near  –  tree"
    assert image.get_title(loc="left") == "score 0.05 = $cost$ 0.50 × near 0.50 × tree 0.80 × connected 0.25"
    dots = [c for c in image.collections if isinstance(c, PathCollection)]
    assert [len(c.get_offsets()) for c in dots] == [48, 48]
    np.testing.assert_allclose(dots[1].get_offsets(), explanation.object.points.reshape(-1, 2))
    assert [width for _, width in bars(gates)] == [0.25, 1.0]
    # Each share begins where the one above it ends, the last bar is their sum.
    assert bars(logit) == [(0, -3), (-3, 0.5), (-2.5, 0.5), (-2, 2.25), (0.25, 0.25), (0, 0.5)]
    words = [label.get_text() for label in logit.get_yticklabels()]
    assert words == ["layer 0", "last state", "constant", "frequency bias", "logit adjustment", "logit"]
    # Both rows of bars are of the same height: a gate stands beside its share.
    assert gates.get_ylim() == logit.get_ylim()
    for axes, values in ((forward, explanation.attention), (back, explanation.attention_back)):
        np.testing.assert_array_equal(axes.images[0].get_array(), values)


def test_a_model_without_all_that():
    bare = make_explanation(gates=None, contributions=None, connectivity=None, connectivity_logit=None)
    no_points = {"points": None, "point_weights": None}
    ends = {name: ExplainedObject(**vars(getattr(bare, name)) | no_points) for name in ("subject", "object")}
    _, image, gates, logit, _, _ = panels(EdgeExplanation(**vars(bare) | ends))
    assert "connected" not in image.get_title(loc="left")
    assert "dense" in image.get_xlabel()
    assert not image.collections and not gates.patches
    assert [label.get_text() for label in logit.get_yticklabels()][0] == "relation head"
    assert bars(logit)[0] == (0, -2)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), dtype=np.uint8)])
def test_no_image(image):
    with pytest.raises(EGTRError, match="draw_explanation: image is"):
        draw_explanation(image, make_explanation())
