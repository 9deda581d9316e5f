"""Sweeps: what runs, in which order, and what happens when runs fail, hang or are stopped."""

import csv
import json
import math
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import yaml

from egtr.experiments.sweep.definition import load_sweep
from egtr.experiments.sweep.learning import learning_table, measure_learning
from egtr.experiments.sweep.report import compare_settings, sweep_table, write_sweep_report
from egtr.experiments.sweep.runner import _Process, run_sweep
from egtr.structures import EGTRError

FAKE = Path(__file__).with_name("fake_train.py")


@pytest.fixture
def make_sweep(tmp_path):
    """A function from changes to a sweep in ``tmp_path`` that was read from a file."""
    (tmp_path / "config.yaml").write_text("MODEL: {WEIGHTS: ''}\n")

    def make(**changes):
        content = {
            "CONFIG": str(tmp_path / "config.yaml"),
            "OUTPUT_DIR": str(tmp_path / "sweep"),
            "OVERRIDES": {"MODEL.WEIGHTS": ""},
            "SETTINGS": {"base": {"SOLVER.BASE_LR": 10.0}, "bold": {"SOLVER.BASE_LR": 12.5}},
            "SEEDS": [1, 2],
        }
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content | changes, sort_keys=False))
        return load_sweep(tmp_path / "sweep.yaml")

    return make


def calls(tmp_path):
    """Return the processes started so far: "<folder> <seed> <start or resume> <threads>"."""
    path = tmp_path / "sweep/calls.txt"
    return path.read_text().splitlines() if path.is_file() else []


def write_result(run, **metrics):
    run.folder.mkdir(parents=True, exist_ok=True)
    content = {"fingerprint": run.fingerprint, "metrics": {f"sgdet/{name}": v for name, v in metrics.items()}}
    (run.folder / "result.json").write_text(json.dumps(content))


def test_all_settings_with_the_first_seed_come_first(make_sweep, tmp_path):
    sweep = make_sweep(ITERATIONS=7, THREADS=3)
    assert [(run.setting, run.seed) for run in sweep.runs()] == [("base", 1), ("bold", 1), ("base", 2), ("bold", 2)]
    assert sweep.runs()[1].overrides == {
        "MODEL.WEIGHTS": "", "SOLVER.MAX_ITER": 7, "SOLVER.BASE_LR": 12.5,
        "SEED": 1, "OUTPUT_DIR": str(tmp_path / "sweep/bold/seed1"),
    }  # fmt: skip
    assert run_sweep(sweep, FAKE) == []
    assert calls(tmp_path) == ["base 1 start 3", "bold 1 start 3", "base 2 start 3", "bold 2 start 3"]


def test_settings_times_grid(make_sweep):
    grid = {"MODEL.EGTR.LOSS.K_NEG": [20, 80], "MODEL.EGTR.RELATION.SOURCE.LAYERS": [[-1]]}
    sweep = make_sweep(GRID=grid, BASELINE="base, K_NEG=80, LAYERS=[-1]")
    assert list(sweep.settings) == [
        "base, K_NEG=20, LAYERS=[-1]", "base, K_NEG=80, LAYERS=[-1]",
        "bold, K_NEG=20, LAYERS=[-1]", "bold, K_NEG=80, LAYERS=[-1]",
    ]  # fmt: skip
    assert sweep.settings["bold, K_NEG=20, LAYERS=[-1]"]["MODEL.EGTR.LOSS.K_NEG"] == 20
    assert sweep.baseline == "base, K_NEG=80, LAYERS=[-1]"
    # A grid by itself.
    assert list(make_sweep(SETTINGS={}, GRID={"SOLVER.BASE_LR": [1.0, 2.0]}).settings) == [
        "BASE_LR=1.0",
        "BASE_LR=2.0",
    ]


def test_a_sweep_on_top_of_another(make_sweep, tmp_path):
    make_sweep()
    child = {"_BASE_": "sweep.yaml", "SEEDS": [5], "SETTINGS": {"weak": {"SOLVER.BASE_LR": 0.5}}}
    (tmp_path / "child.yaml").write_text(yaml.safe_dump(child))
    sweep = load_sweep(tmp_path / "child.yaml")
    assert set(sweep.settings) == {"base", "bold", "weak"} and sweep.seeds == (5,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SEED": [1]}, "there is no key SEED; did you mean SEEDS"),
        ({"SETTINGS": {"base": {"SOLVER.BASE_LRR": 1}}}, "setting 'base': .*did you mean SOLVER.BASE_LR"),
        ({"SETTINGS": {"base": {"SOLVER.MAX_ITER": "many"}}}, "setting 'base'.*SOLVER.MAX_ITER"),
        ({"SETTINGS": {"base": 3}}, r"SETTINGS is {'base': 3}, expected dict\[str, dict\[str, Any\]\]"),
        ({"SETTINGS": {"a b": {}, "a_b": {}}}, "names of settings must differ"),
        ({"GRID": {"SOLVER.BASE_LR": 0.1}}, r"GRID is {'SOLVER.BASE_LR': 0.1}, expected dict\[str, list\[Any\]\]"),
        ({"GRID": {"SOLVER.BASE_LR": []}}, r"GRID SOLVER.BASE_LR is \[\]; give a list of values"),
        ({"BASELINE": "best"}, "baseline 'best' is none of the settings: base, bold"),
        ({"SEEDS": [1, 1]}, "give different integers"),
        ({"SEEDS": 3}, r"SEEDS is 3, expected list\[int\]"),
        ({"METRICS": []}, r"METRICS is \[\]; give names"),
        ({"SEEDS": [1, "two"]}, r"SEEDS is \[1, 'two'\], expected list\[int\]"),
        ({"OVERRIDES": {3: 3}}, r"OVERRIDES is {3: 3}, expected dict\[str, Any\]"),
        ({"METRIX": []}, "there is no key METRIX; did you mean METRICS"),
        ({"RESULT_TABLE": []}, "there is no key RESULT_TABLE; keys are CONFIG, OUTPUT_DIR, OVERRIDES"),
        ({"SLOTS": 0}, "SLOTS is 0; it must be at least 1"),
        ({"CONFIG": "nowhere.yaml"}, "nowhere.yaml: there is no such configuration"),
        ({"CONFIG": None}, "CONFIG is None, expected str"),
    ],
)
def test_a_wrong_sweep_file_is_one_clear_error(make_sweep, changes, message):
    with pytest.raises(EGTRError, match=f"(?i)sweep.yaml.*{message}"):
        make_sweep(**changes)


def test_a_missing_sweep_file(tmp_path):
    with pytest.raises(EGTRError, match="none.yaml: there is no such sweep file"):
        load_sweep(tmp_path / "none.yaml")


def test_finished_runs_are_skipped_and_changed_ones_are_not(make_sweep, tmp_path, capsys):
    run_sweep(make_sweep(SEEDS=[1]), FAKE)
    result = json.loads((tmp_path / "sweep/bold/seed1/result.json").read_text())
    # 12.5 + seed, and twice that: the last evaluation in metrics.json, not the last line and not the first.
    assert result["metrics"] == {"sgdet/R@50": 13.5, "sgdet/mR@50": 27.0}
    assert result["overrides"]["SOLVER.BASE_LR"] == 12.5 and result["seconds"] > 0
    assert "[2/2] bold, seed 1" in capsys.readouterr().out

    run_sweep(make_sweep(SEEDS=[1, 2]), FAKE)
    assert "4 runs: 2 finished before, 2 to do" in capsys.readouterr().out
    assert calls(tmp_path)[2:] == ["base 2 start 1", "bold 2 start 1"]

    # One setting changes: only its runs come again, without the files of the former ones.
    changed = make_sweep(SETTINGS={"base": {"SOLVER.BASE_LR": 10.0}, "bold": {"SOLVER.BASE_LR": 13.5}})
    run_sweep(changed, FAKE)
    assert calls(tmp_path)[4:] == ["bold 1 start 1", "bold 2 start 1"]
    assert len((tmp_path / "sweep/bold/seed1/metrics.json").read_text().splitlines()) == 3
    # So does everything where the configuration behind the sweep changes.
    (tmp_path / "config.yaml").write_text("MODEL: {WEIGHTS: ''}\nSEED: 4\n")
    assert not any(run.result() for run in changed.runs())


def test_an_interrupted_run_goes_on(make_sweep, tmp_path):
    sweep = make_sweep(SEEDS=[1])
    run_sweep(sweep, FAKE)
    (tmp_path / "sweep/base/seed1/result.json").unlink()
    run_sweep(sweep, FAKE)
    assert calls(tmp_path)[2:] == ["base 1 resume 1"]


def test_a_run_that_a_signal_stopped_is_not_finished(make_sweep, tmp_path, capsys):
    """It ends with status 0 and has metrics, those of an evaluation on the way."""
    settings = {"base": {"MODEL.WEIGHTS": "stopped", "SOLVER.BASE_LR": 10.0}, "bold": {"SOLVER.BASE_LR": 12.5}}
    sweep = make_sweep(SETTINGS=settings, SEEDS=[1])
    assert [run.setting for run in run_sweep(sweep, FAKE)] == ["base"]
    assert "FAILED: stopped before its end" in capsys.readouterr().out
    run_sweep(sweep, FAKE)
    assert calls(tmp_path)[2:] == ["base 1 resume 1"]


def test_a_failed_run_is_named_and_stops_no_other(make_sweep, tmp_path, capsys):
    settings = {"base": {"MODEL.WEIGHTS": "fails"}, "bold": {"SOLVER.BASE_LR": 12.5}}
    sweep = make_sweep(SETTINGS=settings, SEEDS=[1], SLOTS=2)
    assert [(run.setting, run.seed) for run in run_sweep(sweep, FAKE)] == [("base", 1)]
    out = capsys.readouterr().out
    assert "base, seed 1" in out and "FAILED: exit status 1: train_net.py: the learning rate is too bold" in out
    assert not (tmp_path / "sweep/base/seed1/result.json").exists()
    assert (tmp_path / "sweep/bold/seed1/result.json").exists()
    # It is tried again, and the others are not.
    run_sweep(sweep, FAKE)
    assert sorted(line.split()[0] for line in calls(tmp_path)) == ["base", "base", "bold"]


def test_a_metric_that_no_run_has_is_a_failure(make_sweep, capsys):
    assert len(run_sweep(make_sweep(METRICS=["sgdet/R@7"], SEEDS=[1]), FAKE)) == 2
    assert "no sgdet/R@7 among its metrics (METRICS); there are: sgdet/R@50, sgdet/mR@50" in capsys.readouterr().out


def test_a_metric_that_finished_runs_do_not_have(make_sweep):
    """They are not trained again for it, so the table cannot have it."""
    run_sweep(make_sweep(SEEDS=[1]), FAKE)
    with pytest.raises(EGTRError, match="METRICS: .*result.json has no sgdet/R@7; there are: sgdet/R@50"):
        compare_settings(make_sweep(METRICS=["sgdet/R@7"], SEEDS=[1]))


def test_a_damaged_result_is_named(make_sweep, tmp_path):
    sweep = make_sweep(SEEDS=[1])
    (tmp_path / "sweep/base/seed1").mkdir(parents=True)
    (tmp_path / "sweep/base/seed1/result.json").write_text('{"finger')
    with pytest.raises(EGTRError, match="base/seed1/result.json: damaged .*Delete it"):
        run_sweep(sweep, FAKE)


def test_two_runs_never_share_a_folder(make_sweep, tmp_path, capsys):
    """A sweep that is killed, as by a lack of memory, leaves its runs: the next sweep must not join them."""
    sweep = make_sweep(SETTINGS={"base": {"MODEL.WEIGHTS": "hangs"}, "bold": {"SOLVER.BASE_LR": 1.0}}, SEEDS=[1])
    # A killed sweep leaves a run that no one waits for.
    left = _Process(sweep.runs()[0], [sys.executable, str(FAKE)], sweep).process
    pid = tmp_path / "sweep/base/seed1/pid"
    while not (pid.is_file() and pid.read_text()):
        time.sleep(0.05)
    run = int(pid.read_text())
    try:
        assert [failed.setting for failed in run_sweep(sweep, FAKE)] == ["base"]
        assert "[1/2] base, seed 1: FAILED: " in (out := capsys.readouterr().out) and "at work there" in out
        assert is_alive(run) and calls(tmp_path) == ["base 1 start 1", "bold 1 start 1"]
    finally:
        left.kill()
        left.wait()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_that_takes_too_long_is_stopped(make_sweep, tmp_path, capsys):
    sweep = make_sweep(SETTINGS={"base": {"MODEL.WEIGHTS": "hangs"}}, SEEDS=[1], MAX_MINUTES=0.02)
    begin = time.monotonic()
    assert len(run_sweep(sweep, FAKE)) == 1
    assert time.monotonic() - begin < 30
    assert "FAILED: stopped after MAX_MINUTES (0.02)" in capsys.readouterr().out
    assert not is_alive(int((tmp_path / "sweep/base/seed1/pid").read_text()))


def test_an_interrupt_stops_the_running_processes(make_sweep, tmp_path, monkeypatch):
    sweep = make_sweep(SETTINGS={"base": {"MODEL.WEIGHTS": "hangs"}}, SEEDS=[1, 2], SLOTS=2)
    pids = [tmp_path / f"sweep/base/seed{seed}/pid" for seed in (1, 2)]

    def interrupt_when_both_run(seconds):
        if all(pid.is_file() and pid.read_text() for pid in pids):
            raise KeyboardInterrupt
        time.sleep(seconds)

    # Not time.sleep itself, with which the standard library waits for processes.
    clock = SimpleNamespace(sleep=interrupt_when_both_run, monotonic=time.monotonic)
    monkeypatch.setattr("egtr.experiments.sweep.runner.time", clock)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, FAKE)
    assert not any(is_alive(int(pid.read_text())) for pid in pids)


@pytest.fixture
def finished(make_sweep):
    """Three settings: base and bold with three seeds, weak with one."""
    sweep = make_sweep(
        SETTINGS={"base": {}, "bold": {"SOLVER.BASE_LR": 1.0}, "weak": {"SOLVER.BASE_LR": 2.0}, "none": {"SEED": 9}},
        SEEDS=[1, 2, 3],
    )
    runs = {(run.setting, run.seed): run for run in sweep.runs()}
    for seed, recall in zip((1, 2, 3), (50.0, 52.0, 54.0), strict=True):
        write_result(runs["base", seed], **{"R@50": recall, "mR@50": 40.0})
    for seed, recall in zip((1, 2, 3), (51.0, 54.0, 57.0), strict=True):
        write_result(runs["bold", seed], **{"R@50": recall, "mR@50": 40.0})
    write_result(runs["weak", 2], **{"R@50": 49.0, "mR@50": 30.0})
    return sweep


def test_comparison_is_worked_out_by_hand(finished):
    found = {(c.setting, c.metric): c for c in compare_settings(finished)}
    base, bold = found["base", "sgdet/R@50"], found["bold", "sgdet/R@50"]
    # 50, 52, 54: mean 52, squared deviations 4 + 0 + 4 over two.
    assert (base.seeds, base.mean, base.std) == (3, 52.0, 2.0)
    assert base.pairs == 0 and math.isnan(base.difference)
    # 51, 54, 57 less 50, 52, 54: differences 1, 2, 3 with deviation 1. The table of Student's t says 4.303 for 97.5%
    # and two degrees of freedom: 2 -+ 4.303 / sqrt(3) = 2 -+ 2.484.
    assert (bold.mean, bold.std, bold.pairs, bold.difference) == (54.0, 3.0, 3, 2.0)
    assert (bold.low, bold.high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    # One seed: a difference to the same seed of the baseline, not to its mean, and no interval.
    weak = found["weak", "sgdet/R@50"]
    assert (weak.seeds, weak.mean, weak.pairs, weak.difference) == (1, 49.0, 1, 49.0 - 52.0)
    assert math.isnan(weak.std) and math.isnan(weak.low)
    # Nothing varies: the interval is a point.
    assert (found["bold", "sgdet/mR@50"].low, found["bold", "sgdet/mR@50"].high) == (0.0, 0.0)
    assert ("none", "sgdet/R@50") not in found


def test_files_of_the_report(finished, capsys):
    comparisons = compare_settings(finished)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in sweep_table(finished, comparisons).splitlines()
    ]
    assert rows[0] == ["setting", "seeds", "R@50", "Δ R@50", "mR@50", "Δ mR@50"]
    assert rows[2] == ["base (baseline)", "3", "52.00 ± 2.00", "", "40.00 ± 0.00", ""]
    assert rows[3][:4] == ["bold", "3", "54.00 ± 3.00", "+2.00 (-0.48 to +4.48)"]
    assert rows[4] == ["weak", "1", "49.00", "-3.00", "30.00", "-10.00"]
    markdown, table, plot = write_sweep_report(finished, comparisons)
    assert "54.00 ± 3.00" in capsys.readouterr().out and "Student" in markdown.read_text()
    with table.open() as file:
        cells = list(csv.DictReader(file))
    assert [c["setting"] for c in cells] == ["base", "base", "bold", "bold", "weak", "weak"]
    assert float(cells[2]["difference"]) == 2.0 and cells[4]["low"] == ""
    height, width = cv2.imread(str(plot)).shape[:2]
    assert width > height > 100


def test_a_report_without_the_baseline(finished):
    for run in finished.runs():
        if run.setting == "base":
            (run.folder / "result.json").unlink()
    comparisons = compare_settings(finished)
    assert {c.setting for c in comparisons} == {"bold", "weak"} and all(c.pairs == 0 for c in comparisons)
    assert len(write_sweep_report(finished, comparisons)) == 3


def test_iterations_until_a_metric_reaches_a_value(make_sweep):
    sweep = make_sweep(REACH={"sgdet/R@50": 60.0}, SEEDS=[1, 2, 3])
    curves = {
        ("base", 1): [50, 70, 80], ("base", 2): [60, 61, 70], ("base", 3): [10, 20, 30],
        ("bold", 1): [50, 59, 60], ("bold", 2): [50, 60, 55], ("bold", 3): [20, 70, 55],
    }  # fmt: skip
    for run in sweep.runs():
        write_result(run, **{"R@50": 1.0, "mR@50": 1.0})
        spread = 0.25 if run.seed == 1 else 0.5
        lines = [
            {
                "iteration": 100 * k + 99,
                "sgdet/R@50": value,
                "sgdet/mR@50": 1.0,
                "uncertainty_q10": 0.1,
                "uncertainty_q90": 0.1 + spread / k,
            }
            for k, value in enumerate(curves[run.setting, run.seed], start=1)
        ]
        (run.folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    base, bold = measure_learning(sweep)
    # Half of the way from 50 to 70, and four fifths of that from 20 to 70.
    assert base.iterations == {1: 250, 2: 200, 3: None} and bold.iterations == {1: 400, 2: 300, 3: 280}
    # Seed 3 of the baseline is censored: differences 150 and 100; Student's t for one degree of freedom is 12.706.
    assert (bold.pairs, bold.difference) == (2, 125)
    assert (bold.low, bold.high) == pytest.approx((125 - 12.706 * 25, 125 + 12.706 * 25), abs=0.01)
    assert base.pairs == 0 and base.spread == pytest.approx(0.25)
    table = learning_table(sweep, [base, bold]).splitlines()
    assert [cell.strip() for cell in table[2].split("|")[1:-1]] == [
        "base (baseline)", "R@50 60", "250, 200, >400", "1", "", "0.25",
    ]  # fmt: skip
    assert [cell.strip() for cell in table[3].split("|")[1:-1]] == [
        "bold", "R@50 60", "400, 300, 280", "0", "+125 (-193 to +443), 2 pairs", "0.25",
    ]  # fmt: skip
