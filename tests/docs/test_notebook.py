"""docs/notebooks: each cell of code runs after those before it; the file holds no outputs."""

import contextlib
import io
import json

import matplotlib.pyplot as plt
import pytest

from tests.docs.commands import ROOT

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path):
    cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    out, namespace = io.StringIO(), {}
    with contextlib.redirect_stdout(out):
        for cell in cells:
            exec("".join(cell["source"]), namespace)
    plt.close("all")
    assert "car (1)     has        wheel (2)" in out.getvalue()
    assert "score 0.833 = house" in out.getvalue()
