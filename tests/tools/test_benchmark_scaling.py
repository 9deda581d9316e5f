"""What is reckoned is reckoned right; what is measured runs, and says what it was asked for."""

import json
import runpy
from pathlib import Path

import pytest

from egtr.engine import load_config
from egtr.engine.benchmark import ring_seconds, simulate_waiting

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_scaling.py"


@pytest.fixture
def run(tmp_path):
    def run(*arguments):
        output = tmp_path / "report.json"
        assert runpy.run_path(str(TOOL))["main"]([*arguments, "--output", str(output)]) == 0
        return json.loads(output.read_text())

    return run


def test_ring():
    # Four processes: three rounds of sums and three of copies, each a quarter of 400 bytes at 100 bytes a second.
    assert ring_seconds(400, 4, 100, latency=0.0) == pytest.approx(6 * 1.0)
    assert ring_seconds(400, 4, 100, latency=0.5) == pytest.approx(6 * 1.5)
    assert ring_seconds(400, 1, 100, latency=0.5) == 0


def test_waiting_for_the_slowest():
    cfg = load_config(opts=["SOLVER.IMS_PER_BATCH", "8", "INPUT.MIN_SIZE_TRAIN", "(100,)"])
    # Pictures of one size: nobody waits.
    assert simulate_waiting(cfg, [(100, 100)], [1, 8]) == [1.0, 1.0]
    # 10,000 pixels or 30,000, one picture a process. Of two, the slowest has 30,000 in three steps of four:
    # 20,000 / (0.75 * 30,000 + 0.25 * 10,000) = 0.8. Of 64 always.
    one, two, many = simulate_waiting(cfg, [(100, 100), (100, 300)], [1, 2, 64])
    assert one == 1.0
    assert two == pytest.approx(0.8, abs=0.02)
    assert many == pytest.approx(2 / 3, abs=0.01)


def test_storage(run, tiny_dataset, capsys):
    found = run("storage", "--bytes", "2e6", "--pictures", "3", "DATASETS.TRAIN", f"('{tiny_dataset.train}',)")
    pictures = sorted((tiny_dataset.root / "images").glob("*.png"))[:6]
    assert found["images"] == 6
    assert found["picture_bytes"] == pytest.approx(sum(path.stat().st_size for path in pictures) / 6)
    files = [tiny_dataset.root / name for name in ("train.json", "rel.json")]
    assert found["annotation_bytes"] == pytest.approx(sum(path.stat().st_size for path in files) / 6)
    assert 2 <= found["objects"] <= 4
    assert 1 <= found["relations"] <= 3
    assert found["load_bytes"] > found["record_bytes"] > 0
    assert min(found["load_seconds"], found["read_seconds"]) > 0
    lines = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert ["", "photos on the disk, as assumed", "2000.0 kB", "2000.0 GB", ""] in lines


@pytest.mark.slow
def test_communication(run, tiny_dataset, capsys):
    small = ["MODEL.EGTR.BACKBONE.NAME", "resnet10t", "MODEL.EGTR.BACKBONE.CHANNELS", "[8, 8, 8, 16]"]
    small += ["MODEL.EGTR.TRANSFORMER.HIDDEN_DIM", "32", "MODEL.BACKBONE.FREEZE_AT", "0"]
    options = ["--runs", "1", "--gpus", "8", "--links", "1", "--step", "2", "--latency", "1000000"]
    found = run("communication", *options, "--sizes-of", tiny_dataset.train, *small)
    assert found["bytes"] == 4 * found["trained"] == 4 * found["parameters"]
    assert found["gradients"] > found["scalar"] > 0
    (row,) = found["rows"]
    # 14 messages of a second each, and hardly any bytes; pictures of one size, so nobody waits.
    assert row["s at 1 GB/s"] == pytest.approx(14, abs=0.1)
    assert row["efficiency at 1 GB/s"] == pytest.approx(2 / 16, abs=0.01)
    assert "2 processes on this machine, gloo" in capsys.readouterr().out
