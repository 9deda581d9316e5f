"""Recall by family of predicates, from the files that runs leave."""

import csv
import json
import math
import runpy
import shutil
from pathlib import Path

import pytest
import yaml

from egtr.data.scenes import SCENES_PREDICATES
from egtr.experiments.sweep.definition import load_sweep
from egtr.experiments.sweep.evaluations import record
from egtr.structures import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "projects/EGTR/predicate_families.py"))


@pytest.fixture
def sweep_file(tmp_path):
    (tmp_path / "config.yaml").write_text("MODEL: {WEIGHTS: ''}\n")
    content = {
        "CONFIG": str(tmp_path / "config.yaml"), "OUTPUT_DIR": str(tmp_path / "sweep"), "SEEDS": [1, 2],
        "SETTINGS": {"base": {}, "sum": {"SOLVER.BASE_LR": 2.0}},
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "sweep.yaml"


def finish(run, recalls, names=SCENES_PREDICATES):
    """Write what a run leaves: R@50 of each predicate is 10, but for those in ``recalls``."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "result.json").write_text(json.dumps({"fingerprint": run.fingerprint, "metrics": {}}))
    with (run.folder / "scene_graph_scenes_val_predicates.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["protocol", "predicate", "R@20", "R@50"])
        writer.writerows(["reference", name, 1.0, recalls.get(name, 10.0)] for name in names)
        writer.writerow(["motifs", names[0], 99.0, 99.0])


def test_families_by_hand(script, sweep_file, capsys):
    base1, sum1, base2, sum2 = load_sweep(sweep_file).runs()
    finish(base1, {"has": 30.0})
    finish(sum1, {"has": 40.0, "kicking": ""})
    finish(base2, {"has": 50.0})
    script["main"]([str(sweep_file)])
    rows = script["compare_families"](load_sweep(sweep_file), "R@50")
    found = {(row["setting"], row["family"], row["predicate"]): row for row in rows}
    assert len(rows) == 2 * (15 + 3)
    # Possessive are has and wearing: (30 + 10) / 2 and (50 + 10) / 2 of the baseline, (40 + 10) / 2 of the other.
    base, other = (found[setting, "possessive", ""] for setting in ("base", "sum"))
    assert (base["mean"], base["seeds"]) == (25, 2) and math.isnan(base["difference"])
    assert (other["mean"], other["difference"], other["seeds"]) == (25, 5, 1) and math.isnan(other["low"])
    assert found["sum", "possessive", "has"]["difference"] == 10
    # A predicate without a triplet does not count in its family.
    assert found["sum", "action", ""]["mean"] == 10 and math.isnan(found["sum", "action", "kicking"]["mean"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| sum")]
    cells = [cell.strip() for cell in table[0].split("|")[1:-1]]
    assert cells == ["sum", "10.0", "+0.0", "25.0", "+5.0", "10.0", "+0.0"]
    # With a second pair the difference is the mean of 5 and -15, and has an interval.
    finish(sum2, {"has": 20.0})
    script["main"]([str(sweep_file)])
    rows = script["compare_families"](load_sweep(sweep_file), "R@50")
    (entry,) = (row for row in rows if (row["setting"], row["family"], row["predicate"]) == ("sum", "possessive", ""))
    half = 12.7062 * math.sqrt(200) / math.sqrt(2)
    assert (entry["difference"], entry["low"]) == (-5, pytest.approx(-5 - half, rel=1e-4))
    text = (sweep_file.parent / "sweep/families.csv").read_text().splitlines()
    assert text[0] == "setting,family,predicate,seeds,mean,difference,low,high" and len(text) == 37


def test_errors_are_one_line(script, sweep_file):
    with pytest.raises(SystemExit, match="no run has left its folder yet; train them with `egtr sweep .*`$"):
        script["main"]([str(sweep_file)])
    run = load_sweep(sweep_file).runs()[0]
    finish(run, {}, names=("near", "eats"))
    with pytest.raises(DataError, match="not those of the dataset .*Give a sweep on scenes"):
        script["read_recalls"](run, "R@50")
    finish(run, {})
    with pytest.raises(DataError, match=r"no column R@7; there are: .*R@50.*Give one as --metric"):
        script["read_recalls"](run, "R@7")
    next(run.folder.glob("*.csv")).unlink()
    with pytest.raises(SystemExit, match="0 files .*DATASETS.TEST in the sweep file"):
        script["main"]([str(sweep_file)])


def test_recorded_runs_are_not_trained_again_by_themselves(script, sweep_file):
    kept = sweep_file.parent / "recorded.csv"
    sweep_file.write_text(f"{sweep_file.read_text()}RECORD: {kept}\n")
    run = load_sweep(sweep_file).runs()[0]
    finish(run, {})
    result = {"fingerprint": run.fingerprint, "metrics": {"sgdet/R@50": 10.0, "sgdet/mR@50": 10.0}}
    (run.folder / "result.json").write_text(json.dumps(result))
    record(load_sweep(sweep_file))
    shutil.rmtree(run.folder)
    with pytest.raises(SystemExit, match=f"`egtr sweep .*`, after {kept} is moved away"):
        script["main"]([str(sweep_file)])
