import json

import pytest

from egtr.engine.metrics_file import cut_metrics


def lines(*iterations: int) -> str:
    return "".join(json.dumps({"iteration": k, "loss": k / 2}) + "\n" for k in iterations)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lines(0, 19, 39), lines(0, 19)),
        (lines(0, 19), lines(0, 19)),
        (lines(20, 39), ""),
        ("", ""),
        # A line that the power cut, in the middle of a number or between two keys.
        (lines(0) + '{"iteration": 1', lines(0)),
        (lines(0) + '{"iteration": 19, "loss": 0.5}', lines(0)),
        (lines(0) + '{"loss": 0.5}\n' + lines(19), lines(0)),
        (lines(0) + "\0\0\0\0", lines(0)),
        # Evaluations have lines of their own, of the iteration that they follow.
        (lines(0, 19, 19), lines(0, 19, 19)),
        (lines(0, 20, 20), lines(0)),
    ],
)
def test_lines_that_come_again_are_cut_off(tmp_path, before, after):
    path = tmp_path / "metrics.json"
    path.write_text(before)
    # A writer that has the file open goes on where it now ends.
    with path.open("a") as writer:
        assert cut_metrics(path, 20) == len(before) - len(after)
        assert path.read_text() == after
        writer.write(lines(20))
    assert path.read_text() == after + lines(20)


def test_no_file(tmp_path):
    assert cut_metrics(tmp_path / "metrics.json", 3) == 0
