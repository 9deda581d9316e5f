"""`egtr analyze model`; tests/experiments/test_relation_analysis.py has `egtr analyze relations`."""

import pytest

from egtr.cli import main
from tests.modeling.models import small_cfg


def test_model(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(small_cfg().dump())
    words = ["analyze", "model", "--model", str(tmp_path / "small.yaml"), "--size", "64", "96"]
    assert main([*words, "MODEL.DEVICE", "cpu"]) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["part", "parameters", "trained", "GFLOPs"]
    # d = 64, five classes: Linear(64, 5), all of it trained, with six queries.
    (heads,) = (row.split() for row in rows if row.startswith("transformer.class_heads"))
    assert heads[1:] == ["325", "325", "0.00"]
    assert main([*words, "MODEL.EGTR.NUM_QUERY", "3"]) == 1
    assert "egtr analyze model: error: Command line: there is no key" in capsys.readouterr().err


@pytest.mark.parametrize("size", [("0", "9"), ("9", "wide")])
def test_usage(size, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["analyze", "model", "--size", *size])
    assert "give a whole number of at least 1" in capsys.readouterr().err
