"""Curves out of metrics.json: what resumed, killed and broken runs leave in it, and the image of them."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from egtr.cli import main
from egtr.experiments.training_curves import draw_curves, read_metrics
from egtr.structures import EGTRError
from tests.running import largest_file


def write(folder, *records, tail=""):
    path = folder / "metrics.json"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def points(metrics, name):
    iterations, values = metrics[name]
    return list(zip(iterations.tolist(), values.tolist(), strict=True))


def test_a_resumed_run_counts_where_it_overlaps(tmp_path):
    # The first try came to 59. The second began again at 20, with other values, and has come to 39 so far: what the
    # first one wrote about 39 and 59 is gone. It had evaluated after 49; the second has not yet.
    path = write(
        tmp_path,
        {"iteration": 19, "total_loss": 3.0},
        {"iteration": 39, "total_loss": 2.0},
        {"iteration": 59, "total_loss": 1.0},
        {"iteration": 49, "sgdet/R@50": 10.0},
        {"iteration": 39, "total_loss": 2.5},
    )
    metrics = read_metrics(path)
    assert points(metrics, "total_loss") == [(19, 3.0), (39, 2.5)]
    assert points(metrics, "sgdet/R@50") == [(49, 10.0)]


def test_lines_of_an_evaluation_may_come_after_later_iterations(tmp_path):
    path = write(
        tmp_path, {"iteration": 59, "lr": 1.0}, {"iteration": 49, "sgdet/R@50": 10.0}, {"iteration": 79, "lr": 2}
    )
    metrics = read_metrics(path)
    assert points(metrics, "lr") == [(59, 1.0), (79, 2.0)]
    assert points(metrics, "sgdet/R@50") == [(49, 10.0)]


def test_what_is_not_finite_stays_and_what_is_no_number_goes(tmp_path):
    # json writes NaN and Infinity, which JSON does not have, and reads them again.
    path = write(tmp_path, {"iteration": 0, "a": math.nan, "b": "text", "c": None}, {"iteration": 1, "a": math.inf})
    metrics = read_metrics(tmp_path)
    assert list(metrics) == ["a"] and path.is_file()
    iterations, values = metrics["a"]
    assert iterations.tolist() == [0, 1] and np.isnan(values[0]) and values[1] == math.inf


def test_a_last_line_that_was_cut_off(tmp_path):
    path = write(tmp_path, {"iteration": 0, "lr": 1.0}, tail='{"iteration": 1, "l')
    assert points(read_metrics(path), "lr") == [(0, 1.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"iteration": 0, "lr": 1}\n{"iter\n{"iteration": 2, "lr": 1}\n',
            "line 2 is no JSON object with an iteration",
        ),
        ('[1]\n{"iteration": 2, "lr": 1}\n', "line 1 is no JSON object"),
        ("", "holds no metrics"),
        ('{"iteration": 0}\n', "holds no metrics"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(EGTRError, match=f"metrics.json: {message}"):
        read_metrics(path)


def test_no_file(tmp_path):
    with pytest.raises(EGTRError, match="metrics.json: cannot be read"):
        read_metrics(tmp_path)


def test_curves_that_are_drawn():
    rising = np.array([9, 19, 29])
    metrics = {
        "total_loss": (rising, np.array([3.0, math.nan, 1.0])),
        "loss_rel": (rising, np.array([2.0, 1.0, 0.5])),
        "rel_gate_0": (rising, np.array([0.5, 0.6, 0.7])),
        "rel_gate_10": (rising, np.array([0.5, 0.6, 0.9])),
        "rel_gate_2": (rising, np.array([0.5, 0.6, 0.8])),
        # All 0, as with smoothing switched off: there is no logarithm of it.
        "uncertainty": (rising, np.zeros(3)),
        "validation/loss_rel": (np.array([30]), np.array([0.2])),
        "validation/loss": (np.array([30]), np.array([3.0])),
        "sgdet/R@100": (np.array([30]), np.array([80.0])),
        "sgdet/R@20": (np.array([30]), np.array([60.0])),
        "time": (rising, np.ones(3)),
    }
    figure = draw_curves(metrics)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.lines}
    drawn = {title: [line.get_label() for line in axes.lines] for title, axes in panels.items()}
    assert drawn == {
        "losses, weighted": ["total_loss", "loss_rel"],
        "validation losses": ["loss", "loss_rel"],
        # In the order of the sources, not of letters.
        "mean gate of each relation source": ["rel_gate_0", "rel_gate_2", "rel_gate_10"],
        "uncertainty of true triplets (adaptive smoothing)": ["uncertainty"],
        "validation recall": ["R@20", "R@100"],
    }
    scales = {title: axes.get_yscale() for title, axes in panels.items()}
    assert list(scales.values()) == ["log", "log", "linear", "linear", "linear"]
    x, y = panels["losses, weighted"].lines[0].get_data()
    assert x.tolist() == [9, 19, 29] and np.isnan(y).tolist() == [False, True, False]


def test_a_run_without_any_of_them():
    with pytest.raises(EGTRError, match="None of the metrics time"):
        draw_curves({"time": (np.array([1]), np.array([1.0]))})


def test_tool(tmp_path, capsys):
    write(tmp_path, {"iteration": 0, "total_loss": 2.0}, {"iteration": 1, "total_loss": 1.0})
    assert main(["plot", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'curves.png'}\n"
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 600
    assert main(["plot", str(tmp_path / "metrics.json"), "--output", str(tmp_path / "new/loss.svg")]) == 0
    assert (tmp_path / "new/loss.svg").read_text().startswith("<?xml")
    assert main(["plot", str(tmp_path / "elsewhere")]) == 1
    assert "error:" in capsys.readouterr().err
    drawn = (tmp_path / "curves.png").read_bytes()
    with largest_file(1000):
        assert main(["plot", str(tmp_path)]) == 1
    assert "curves.png: cannot be written (File too large)" in capsys.readouterr().err
    assert (tmp_path / "curves.png").read_bytes() == drawn
    assert main(["plot", str(tmp_path), "--output", str(tmp_path / "curves.xyz")]) == 1
