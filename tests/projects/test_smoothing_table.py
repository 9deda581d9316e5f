"""The table of uncertainties in the README of the project."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_readme_shows_what_the_script_prints(capsys):
    runpy.run_path(str(ROOT / "projects/EGTR/smoothing_table.py"), run_name="__main__")
    printed = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    lines = (ROOT / "projects/EGTR/README.md").read_text("utf-8").splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("| p = GIoU |"))
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[first + 2 : first + 8]]
    assert shown == printed[2:]
    # Probability 0.9, IoU 0.9: 0.0009 at 1e-14, 0.9 at 1e-10, 1 at 1e-6.
    assert shown[4][0] == "0.9" and [shown[4][column] for column in (2, 4, 6)] == ["0.00087", "0.9", "1"]
