"""tools/sweep.py trains what a sweep file says, goes on where it was, and compares."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from egtr.cli import main
from egtr.experiments.sweep.definition import load_sweep

ROOT = Path(__file__).parents[2]


def sweep(*arguments):
    return main(["sweep", *map(str, arguments)])


@pytest.fixture
def write_sweep(tiny_dataset, tmp_path):
    """A function from changes to a sweep file: a tiny model on the tiny dataset, two settings, two seeds."""
    root = tiny_dataset.root
    rows = [
        [f"sweep_{split}", "egtr", str(root / f"{split}.json"), str(root / "images")] for split in ("train", "val")
    ]
    overrides = {
        "DATASETS.REGISTER": rows, "DATASETS.TRAIN": ["sweep_train"], "DATASETS.TEST": ["sweep_val"],
        "MODEL.DEVICE": "cpu", "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.EGTR.NUM_CLASSES": 5, "MODEL.EGTR.NUM_PREDICATES": 4, "MODEL.EGTR.NUM_QUERIES": 8,
        "MODEL.EGTR.BACKBONE.NAME": "resnet10t", "MODEL.EGTR.BACKBONE.CHANNELS": [8, 8, 8, 16],
        "MODEL.EGTR.BACKBONE.NORM": "BN", "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM": 32,
        "MODEL.EGTR.TRANSFORMER.ENC_LAYERS": 1, "MODEL.EGTR.TRANSFORMER.DEC_LAYERS": 1,
        "INPUT.MIN_SIZE_TRAIN": [64], "INPUT.MIN_SIZE_TEST": 64, "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 2, "SOLVER.CHECKPOINT_PERIOD": 2,
    }  # fmt: skip

    def write(**changes):
        content = {
            "CONFIG": "egtr://configs/Base-EGTR.yaml",
            "OUTPUT_DIR": str(tmp_path / "sweep"),
            "ITERATIONS": 3,
            "SEEDS": [1, 2],
            "OVERRIDES": overrides,
            "SETTINGS": {"base": {}, "no connectivity": {"MODEL.EGTR.RELATION.CONNECTIVITY_HEAD": ""}},
        }
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
        return path

    return write


@pytest.mark.slow
def test_a_sweep_from_start_to_table(write_sweep, tmp_path, capsys):
    path = write_sweep()
    assert sweep(path) == 0
    assert "[4/4] no connectivity, seed 2" in capsys.readouterr().out
    folder = tmp_path / "sweep"
    results = [json.loads(file.read_text()) for file in sorted(folder.rglob("result.json"))]
    assert [(r["setting"], r["seed"]) for r in results] == [
        ("base", 1), ("base", 2), ("no connectivity", 1), ("no connectivity", 2)
    ]  # fmt: skip
    # The settings have reached the runs.
    configs = [
        yaml.safe_load((folder / name / "seed2/config.yaml").read_text()) for name in ("base", "no_connectivity")
    ]
    heads = [cfg["MODEL"]["EGTR"]["RELATION"]["CONNECTIVITY_HEAD"] for cfg in configs]
    assert heads == ["MLPConnectivityHead", ""] and [cfg["SEED"] for cfg in configs] == [2, 2]
    assert [cfg["SOLVER"]["MAX_ITER"] for cfg in configs] == [3, 3]
    with (folder / "sweep.csv").open() as file:
        rows = {(row["setting"], row["metric"]): row for row in csv.DictReader(file)}
    values = [r["metrics"]["sgdet/R@50"] for r in results]
    row = rows["no connectivity", "sgdet/R@50"]
    assert float(row["difference"]) == pytest.approx((values[2] - values[0] + values[3] - values[1]) / 2)
    assert (folder / "sweep.png").stat().st_size > 5000 and "base (baseline)" in (folder / "sweep.md").read_text()

    # Nothing is left to do; the table can be had by itself.
    assert sweep(path, "--table-only") == 0
    again = capsys.readouterr().out
    assert "runs:" not in again and "no connectivity" in again


@pytest.mark.slow
def test_a_failure_is_reported_at_the_end(write_sweep, capsys):
    settings = {"broken": {"MODEL.WEIGHTS": "nowhere.pth"}, "base": {}}
    assert sweep(write_sweep(SETTINGS=settings, SEEDS=[1])) == 1
    done = capsys.readouterr()
    assert "nowhere.pth: there is no such checkpoint" in done.out and "[2/2] base, seed 1" in done.out
    assert done.err.strip().splitlines()[-1].startswith("FAILED: broken, seed 1")


@pytest.mark.slow
def test_a_signal_stops_the_sweep_and_it_goes_on(write_sweep, tmp_path):
    path = write_sweep(SETTINGS={"base": {}}, SEEDS=[1], ITERATIONS=10_000)
    command = [sys.executable, "-m", "egtr", "sweep", str(path)]
    metrics, checkpoint = (tmp_path / "sweep/base/seed1" / name for name in ("metrics.json", "last_checkpoint"))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if metrics.is_file() and checkpoint.is_file():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted" in errors
    # No orphan goes on writing.
    size = metrics.stat().st_size
    time.sleep(1.0)
    assert metrics.stat().st_size == size
    # The run goes on from its checkpoint, and is no longer that far from its end.
    iteration = int(checkpoint.read_text().removeprefix("model_").removesuffix(".pth"))
    started = tmp_path / "sweep/base/seed1/started.json"
    path = write_sweep(SETTINGS={"base": {}}, SEEDS=[1], ITERATIONS=iteration + 3)
    started.write_text(json.dumps({"fingerprint": load_sweep(path).runs()[0].fingerprint}))
    assert sweep(path) == 0
    assert f"Starting training from iteration {iteration + 1}" in (started.parent / "output.txt").read_text()


def test_one_line_for_a_wrong_file(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("CONFIGS: a.yaml\n")
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert sweep(tmp_path / "sweep.yaml") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("egtr sweep: error: ")
    assert line.endswith("there is no key CONFIGS; did you mean CONFIG?")
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]


def test_the_table_of_a_sweep_without_results(write_sweep, capsys):
    """Nothing is run, and there is nothing to compare."""
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    assert sweep(write_sweep(), "--table-only") == 0
    assert capsys.readouterr().out == ""
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]


def test_usage(capsys):
    for words, message in (
        ((), "give one sweep file"),
        (("a.yaml", "b.yaml"), "give one sweep file, not a.yaml, b.yaml"),
    ):
        with pytest.raises(SystemExit, match="2"):
            sweep(*words)
        assert message in capsys.readouterr().err
