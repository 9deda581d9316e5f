"""Runs that several sweep files share, and the record of all their evaluations."""

import json
import math
import shutil

import pytest
import yaml

from egtr.cli import main
from egtr.experiments.sweep.definition import load_sweep
from egtr.experiments.sweep.evaluations import finished_runs, list_evaluations, read_record, record
from egtr.experiments.sweep.learning import measure_learning
from egtr.experiments.sweep.report import compare_settings
from egtr.structures import EGTRError


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
    lines += [
        {"iteration": at - 1, "total_loss": 1.0, "unweighted/loss_ce": 2.0} for at in range(50, counts[-1] + 1, 50)
    ]
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
        assert text[0].startswith("setting,seed,fingerprint,iteration,sgdet/R@50,bbox/AP50,uncertainty_q10")
        key = f"base,1,{first.runs()[0].fingerprint}"
        assert text[1:] == [f"{key},100,50.0,30.0,,,,", f"{key},200,60.0,40.0,,,,"]
    assert "base (baseline)" in capsys.readouterr().out


def test_iterations_to_a_value_count_the_end_once(make_sweep):
    sweep = make_sweep("first", BASE | WIDE, REACH={"bbox/AP50": 40.0})
    for run, precision in zip(sweep.runs(), (40, 39), strict=True):
        finish(run, (50, 30), (60, precision))
    base, wide = measure_learning(sweep)
    assert (base.iterations, wide.iterations, wide.last) == ({1: 200}, {1: None}, 200)


def test_settings_without_a_metric_are_not_called_censored(make_sweep):
    sweep = make_sweep("first", BASE | WIDE, REACH={"sgdet/R@50": 60.0}, METRICS=["bbox/AP50"])
    for run in sweep.runs():
        finish(run, (50, 30), (60, 40))
    path = sweep.runs()[1].folder / "metrics.json"
    path.write_text(path.read_text().replace('"sgdet/R@50"', '"other/R@50"'))
    assert [entry.setting for entry in measure_learning(sweep)] == ["base"]


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


def test_another_setting_may_be_the_baseline(make_sweep, tmp_path, capsys):
    base, wide = make_sweep("first", BASE | WIDE, REACH={"sgdet/R@50": 45.0}).runs()
    finish(base, (50, 30), (60, 40))
    finish(wide, (41, 33), (52, 41))
    path, folder = str(tmp_path / "first.yaml"), tmp_path / "first"
    assert main(["sweep", path, "--table-only", "--baseline", "wide"]) == 0
    rows = (folder / "sweep_wide.md").read_text().splitlines()
    assert any("| wide (baseline)" in row for row in rows)
    assert any("| base " in row and "+8.00" in row for row in rows)
    assert (folder / "learning_wide.md").exists() and not list(folder.glob("sweep.*"))
    capsys.readouterr()
    assert main(["sweep", path, "--table-only", "--baseline", "large"]) == 1
    assert "first.yaml: baseline 'large' is none of the settings: base, wide" in capsys.readouterr().err


def test_evaluations_have_the_uncertainty_of_the_last_iteration_before(make_sweep):
    sweep = make_sweep("first", BASE | WIDE)
    base, wide = sweep.runs()
    finish(base, (50, 30), (60, 40), early=(19, 0.9), middle=(119, 0.5))
    assert wide.result() is None
    rows = list_evaluations(sweep)
    assert [(row.setting, row.seed, row.iteration) for row in rows] == [("base", 1, 100), ("base", 1, 200)]
    assert [(row.metrics["sgdet/R@50"], row.metrics["bbox/AP50"]) for row in rows] == [(50, 30), (60, 40)]
    assert [row.uncertainty for row in rows] == [{"uncertainty_q90": 0.9}, {"uncertainty_q90": 0.5}]
    assert all(math.isnan(row.spread) for row in rows)


def log_spread(run, *differences):
    """Write quantiles of uncertainty whose difference is that of ``differences``, every 100 iterations."""
    lines = (run.folder / "metrics.json").read_text()
    for number, difference in enumerate(differences):
        at = {"iteration": 100 * number + 50, "uncertainty_q10": 0.25, "uncertainty_q90": 0.25 + difference}
        lines += f"{json.dumps(at)}\n"
    ordered = sorted(map(json.loads, lines.splitlines()), key=lambda line: line["iteration"])
    (run.folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in ordered))


def test_recorded_runs_need_no_folders(make_sweep, tmp_path, capsys):
    """Tables from the record are those from the folders, and a recorded run is not trained again."""
    keys = {"RECORD": str(tmp_path / "kept/recorded.csv"), "REACH": {"bbox/AP50": 40.0}}
    sweep = make_sweep("first", BASE | WIDE | DEEP, **keys)
    base, wide, deep = sweep.runs()
    finish(base, (50, 30), (60, 40))
    finish(wide, (41.125, 33), (61, 44))
    log_spread(base, 0.5, 0.125)
    before = [
        repr(found) for found in (compare_settings(sweep), compare_settings(sweep, 100), measure_learning(sweep))
    ]
    path = str(tmp_path / "first.yaml")
    assert main(["sweep", path, "--table-only", "--record"]) == 0
    markdown = (tmp_path / "first/learning.md").read_text()
    assert str(tmp_path / "kept/recorded.csv") in capsys.readouterr().out
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "first")
    after = [
        repr(found) for found in (compare_settings(sweep), compare_settings(sweep, 100), measure_learning(sweep))
    ]
    assert before == after and "0.5" in before[2]
    assert main(["sweep", path, "--table-only"]) == 0
    assert (tmp_path / "first/learning.md").read_text() == markdown
    assert [run.setting for run in sweep.runs() if run not in finished_runs(sweep)] == ["deep"]
    # Runs of another sweep file stay in the record, and a folder has precedence over it.
    other = make_sweep("second", DEEP, **keys)
    finish(deep, (70, 50))
    assert record(other) == tmp_path / "kept/recorded.csv"
    finish(wide, (10, 10))
    assert [(e.setting, e.iteration, e.metrics["sgdet/R@50"]) for e in list_evaluations(sweep)] == [
        ("base", 100, 50), ("base", 200, 60), ("wide", 100, 10), ("deep", 100, 70),
    ]  # fmt: skip


def test_a_recorded_run_with_another_configuration_does_not_count(make_sweep, tmp_path):
    keys = {"RECORD": str(tmp_path / "recorded.csv")}
    sweep = make_sweep("first", BASE, **keys)
    finish(sweep.runs()[0], (50, 30))
    record(sweep)
    changed = make_sweep("first", {"base": {"SOLVER.BASE_LR": 7.0}}, **keys)
    assert finished_runs(changed) == [] and list_evaluations(changed) == []
    finish_again = changed.runs()[0]
    (finish_again.folder / "result.json").write_text(
        json.dumps({"fingerprint": finish_again.fingerprint, "metrics": {"sgdet/R@50": 1, "bbox/AP50": 2}})
    )
    record(changed)
    assert {key[2]: len(rows) for key, rows in read_record(changed.record).items()} == {
        sweep.runs()[0].fingerprint: 1, finish_again.fingerprint: 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["setting,seed\nbase,1\n", "setting,seed,fingerprint,iteration,a/b\nbase,one,x,100,5\n", "\0", "\xff"]
)
def test_a_damaged_record_is_named(make_sweep, tmp_path, text):
    (tmp_path / "recorded.csv").write_bytes(text.encode("latin-1"))
    sweep = make_sweep("first", BASE, RECORD=str(tmp_path / "recorded.csv"))
    if text == "\0":  # a header and no rows: nothing is recorded
        assert finished_runs(sweep) == []
    else:
        with pytest.raises(EGTRError, match="recorded.csv: cannot be read as recorded runs"):
            finished_runs(sweep)


def test_another_sweep_file_keeps_metrics_that_it_does_not_compare(make_sweep, tmp_path):
    keys = {"RECORD": str(tmp_path / "recorded.csv")}
    finish(make_sweep("first", BASE, **keys).runs()[0], (50, 30))
    record(make_sweep("first", BASE, **keys))
    record(make_sweep("second", BASE, METRICS=["bbox/AP50"], **keys))
    ((evaluation,),) = read_record(tmp_path / "recorded.csv").values()
    assert evaluation.metrics == {"bbox/AP50": 30, "sgdet/R@50": 50}


def test_recording_needs_a_place(make_sweep, tmp_path, capsys):
    finish(make_sweep("first", BASE).runs()[0], (50, 30))
    assert main(["sweep", str(tmp_path / "first.yaml"), "--table-only", "--record"]) == 1
    assert "no RECORD; give it the path of a CSV file" in capsys.readouterr().err
