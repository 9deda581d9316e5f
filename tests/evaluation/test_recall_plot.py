"""The plot of predicate recall against training frequency."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from egtr.evaluation import PredicateRecall
from egtr.evaluation.recall_plot import plot_predicate_recall
from egtr.evaluation.report import predicate_rows
from egtr.structures import EGTRError, TripletCounts


def make_rows(counts, recall, names=None):
    """Rows of predicates with these training counts and recalls in 0..1."""
    predicates = np.arange(len(counts))
    known = np.asarray(counts) > 0
    triplets = np.stack([0 * predicates, 0 * predicates, predicates], axis=1)[known]
    training = TripletCounts(triplets, np.asarray(counts)[known], 1, len(counts))
    present = np.isfinite(recall).astype(int)
    return predicate_rows(PredicateRecall(present, present, {"R@50": np.asarray(recall)}), names, training)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """A function that plots rows; returns the figure and the path, to which it is written only where asked."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))

    def draw(rows, write=False, **options):
        plot_predicate_recall(tmp_path / "plot.png", rows, **options)
        if write:
            save(figures[-1], tmp_path / "plot.png")
        return figures[-1], tmp_path / "plot.png"

    return draw


def labels(figure, rows):
    """The names on the plot and their boxes in pixels."""
    names = {row["predicate"] for row in rows}
    texts = [text for text in figure.axes[0].texts if text.get_text() in names]
    return [text.get_text() for text in texts], [text.get_window_extent() for text in texts]


def test_fifty_predicates_are_all_named_and_no_name_lies_on_another(drawn):
    # A long tail as of Visual Genome: 100,000 down to 20, the rarer half never found.
    counts = (1e5 * 0.84 ** np.arange(50)).astype(int)
    recall = np.where(np.arange(50) < 25, np.linspace(0.8, 0, 50), 0.0)
    rows = make_rows(counts, recall, [f"predicate no. {p}" for p in range(50)])
    figure, path = drawn(rows, write=True, title="a dataset")
    names, boxes = labels(figure, rows)
    assert sorted(names) == sorted(row["predicate"] for row in rows)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    inside = figure.axes[0].get_window_extent()
    assert all(inside.x0 <= b.x0 and b.x1 <= inside.x1 and inside.y0 <= b.y0 and b.y1 <= inside.y1 for b in boxes)
    assert figure.axes[0].get_title(loc="left") == "a dataset"
    with Image.open(path) as image:
        assert image.size == (1500, 900) and len(image.getcolors(1 << 20)) > 100


def test_markers_stand_at_count_and_recall_and_groups_at_their_mean(drawn):
    # Head: 900 and 800, body 90 and 80, tail 9 and 8.
    figure, _ = drawn(make_rows([900, 800, 90, 80, 9, 8], [0.5, 0.25, 0.2, 0.4, 0.0, 0.1]))
    axes = figure.axes[0]
    markers = np.concatenate([c.get_offsets() for c in axes.collections if len(c.get_offsets()) == 2])
    assert sorted(map(tuple, markers)) == [(8, 10), (9, 0), (80, 40), (90, 20), (800, 25), (900, 50)]
    notes = {text.get_text() for text in axes.texts}
    assert {"head, mean 37.5", "body, mean 30.0", "tail, mean 5.0"} <= notes
    assert axes.get_xscale() == "log"


def test_predicates_that_cannot_be_drawn_are_named_below(drawn):
    rows = make_rows([30, 20, 10], [0.5, np.nan, 0.0], ["on", "under", "costs 5$ or 6$"])
    figure, _ = drawn(rows)
    assert figure.get_supxlabel() == "not in the scored images: under"
    # Dollars would be read as a formula.
    assert labels(figure, [{"predicate": "on"}, {"predicate": r"costs 5\$ or 6\$"}])[0] == ["on", r"costs 5\$ or 6\$"]


def test_predicates_that_training_never_shows_have_a_place(drawn):
    figure, _ = drawn(make_rows([30, 0, 0], [0.5, 0.1, 0.0]))
    axes = figure.axes[0]
    assert axes.get_xlim()[0] < 0
    assert axes.get_xscale() == "symlog"


def test_nothing_found_at_all(drawn):
    figure, _ = drawn(make_rows([3, 2, 1], [np.nan] * 3))
    assert {"head", "body", "tail"} <= {text.get_text() for text in figure.axes[0].texts}


def test_rows_without_training_counts_are_refused(tmp_path):
    rows = predicate_rows(PredicateRecall(np.array([1]), np.array([1]), {"R@50": np.array([1.0])}))
    with pytest.raises(EGTRError, match="rows have no 'training_triplets', only .*'R@50'"):
        plot_predicate_recall(tmp_path / "plot.png", rows)
    with pytest.raises(EGTRError, match="rows have no 'R@30'"):
        plot_predicate_recall(tmp_path / "plot.png", make_rows([1], [0.5]), metric="R@30")
    with pytest.raises(EGTRError, match="rows have no"):
        plot_predicate_recall(tmp_path / "plot.png", [])


def test_matplotlib_is_loaded_for_a_plot_only():
    # Without Detectron2, which may load it for purposes of its own.
    program = """
import sys
sys.modules["torch"] = sys.modules["detectron2"] = None
import egtr.evaluation.report
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
