"""Runs that several sweep files share, and the record of all their evaluations."""

import json
import math

import pytest
import yaml

from egtr.cli import main
from egtr.experiments.sweep.definition import load_sweep
from egtr.experiments.sweep.learning import list_evaluations, measure_learning
from egtr.experiments.sweep.report import compare_settings


@pytest.fixture
def make_sweep(tmp_path):
    """A function from the name of a sweep file and its settings to the sweep; all share the folder of the runs."""
    (tmp_path / "config.yaml").write_text("MODEL: {WEIGHTS: ''}\n")

    def make(name, settings, **changes):
        content = {
            "CONFIG": str(tmp_path / "config.yaml"), "OUTPUT_DIR": str(tmp_path / name), "SETTINGS": settings,
            "RUNS_DIR": str(tmp_path / "runs"), "METRICS": ["sgdet/R@50", "bbox/AP50"], "SEEDS": [1],
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content | changes, sort_keys=False))
        return load_sweep(tmp_path / f"{name}.yaml")

    return make


def finish(run, *evaluations, **logged):
    """Write the result of a run whose evaluations are (R@50, AP50), every 100 iterations and at the end.

    As in training, the last evaluation is written under the number of iterations, the others under one less.
    """
    run.folder.mkdir(parents=True)
    rows = [{"sgdet/R@50": recall, "bbox/AP50": precision} for recall, precision in evaluations]
    (run.folder / "result.json").write_text(json.dumps({"fingerprint": run.fingerprint, "metrics": rows[-1]}))
    counts = [100 * number for number, _ in enumerate(rows, start=1)]
    lines = [{"iteration": count - (count < counts[-1]), **row} for count, row in zip(counts, rows, strict=True)]
    lines += [{"iteration": count - 1, "total_loss": 1.0} for count in counts]
    lines += [{"iteration": iteration, "uncertainty_q90": value} for iteration, value in logged.values()]
    lines.sort(key=lambda line: line["iteration"])
    (run.folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


BASE, WIDE, DEEP = {"base": {}}, {"wide": {"SOLVER.BASE_LR": 2.0}}, {"deep": {"SOLVER.BASE_LR": 3.0}}


def test_a_run_that_another_sweep_file_has_finished_counts(make_sweep, tmp_path):
    first, second = make_sweep("first", BASE | WIDE), make_sweep("second", BASE | DEEP)
    for run, recall in zip(first.runs(), (50, 60), strict=True):
        finish(run, (recall, 30))
    assert [run.result() is None for run in second.runs()] == [False, True]
    finish(second.runs()[1], (54, 30))
    assert [(c.setting, c.difference) for c in compare_settings(second) if c.pairs] == [("deep", 4), ("deep", 0)]
    # A shared name with other overrides is another run, and without RUNS_DIR each file has runs of its own.
    assert make_sweep("third", {"base": {"SOLVER.BASE_LR": 9.0}}).runs()[0].result() is None
    own = make_sweep("first", BASE, RUNS_DIR="")
    assert own.runs()[0].folder == tmp_path / "first/base/seed1"


def test_reports_of_sweep_files_that_share_runs_stay_apart(make_sweep, tmp_path, capsys):
    first, _ = make_sweep("first", BASE | WIDE), make_sweep("second", BASE | DEEP)
    finish(first.runs()[0], (50, 30), (60, 40))
    for name in ("first", "second"):
        assert main(["sweep", str(tmp_path / f"{name}.yaml"), "--table-only"]) == 0
        text = (tmp_path / name / "evaluations.csv").read_text().splitlines()
        assert text[0].startswith("setting,seed,iteration,sgdet/R@50,bbox/AP50,uncertainty_q10")
        assert text[1:] == ["base,1,100,50.0,30.0,,,", "base,1,200,60.0,40.0,,,"]
    assert "base (baseline)" in capsys.readouterr().out


def test_iterations_to_a_value_count_the_end_once(make_sweep):
    sweep = make_sweep("first", BASE | WIDE, REACH={"bbox/AP50": 40.0})
    for run, precision in zip(sweep.runs(), (40, 39), strict=True):
        finish(run, (50, 30), (60, precision))
    base, wide = measure_learning(sweep)
    assert (base.iterations, wide.iterations, wide.last) == ({1: 200}, {1: None}, 200)


def test_settings_are_compared_early_in_training(make_sweep, tmp_path, capsys):
    base, wide = make_sweep("first", BASE | WIDE).runs()
    finish(base, (50, 30), (60, 40))
    finish(wide, (41, 33), (60, 41))
    path = str(tmp_path / "first.yaml")
    early = {(c.setting, c.metric): c.difference for c in compare_settings(load_sweep(path), 100) if c.pairs}
    assert early == {("wide", "sgdet/R@50"): -9, ("wide", "bbox/AP50"): 3}
    assert main(["sweep", path, "--table-only", "--iteration", "100"]) == 0
    assert "| wide" in (tmp_path / "first/sweep_100.md").read_text() and not (tmp_path / "first/sweep.md").exists()
    assert main(["sweep", path, "--table-only", "--iteration", "150"]) == 1
    assert "no evaluation after 150 iterations; there are: 100, 200" in capsys.readouterr().err


def test_evaluations_have_the_uncertainty_of_the_last_iteration_before(make_sweep):
    sweep = make_sweep("first", BASE | WIDE)
    base, wide = sweep.runs()
    finish(base, (50, 30), (60, 40), early=(19, 0.9), middle=(119, 0.5))
    assert wide.result() is None
    rows = list_evaluations(sweep)
    assert [(row["setting"], row["seed"], row["iteration"]) for row in rows] == [("base", 1, 100), ("base", 1, 200)]
    assert [(row["sgdet/R@50"], row["bbox/AP50"]) for row in rows] == [(50, 30), (60, 40)]
    assert [row["uncertainty_q90"] for row in rows] == [0.9, 0.5]
    assert all(math.isnan(row["uncertainty_q10"]) for row in rows)
