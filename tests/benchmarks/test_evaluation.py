"""The benchmark of scoring runs, and its memory is small: nothing of an image's pairs is kept."""

import json

from benchmarks.__main__ import main


def test_benchmark(tmp_path, capsys, monkeypatch):
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        # The command sets them; this restores them.
        monkeypatch.setenv(variable, "1")
    output = tmp_path / "benchmark.json"
    sizes = ["--queries", "60", "--predicates", "8", "--classes", "10", "--images", "6", "--runs", "1"]
    assert main(["evaluation", *sizes, "--output", str(output)]) == 0
    report = json.loads(output.read_text())
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(report["ms_per_image"]) == 5
    assert all(time["score"] > 0 and time["summary"] > 0 for time in report["ms_per_image"].values())
    memory = report["memory"]
    # 60 queries with 10 logits and 4 coordinates, 3600 pairs with two int64 indices and 1 + 8 float32 values.
    assert memory["prediction_MB"] == (60 * 14 * 4 + 3600 * (16 + 9 * 4)) / 1e6
    # The peak includes the present prediction. One float32 number of each of its pairs would be more than is kept.
    assert memory["kept_kB"] < 14.4 < 1000 * memory["prediction_MB"] < 1000 * memory["peak_MB"]
