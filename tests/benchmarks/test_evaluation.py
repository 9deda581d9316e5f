"""The benchmark runs, and what it says of memory holds: nothing of an image's pairs is kept."""

import importlib.util
import json
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_evaluation.py"


def test_benchmark(tmp_path, capsys, monkeypatch):
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        # The tool sets them; this puts back what was there.
        monkeypatch.setenv(variable, "1")
    spec = importlib.util.spec_from_file_location("benchmark_evaluation", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    output = tmp_path / "benchmark.json"
    sizes = ["--queries", "60", "--predicates", "20", "--classes", "10", "--images", "12", "--runs", "1"]
    tool.main([*sizes, "--output", str(output)])
    report = json.loads(output.read_text())
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(report["ms_per_image"]) == 5
    assert all(time["score"] > 0 and time["summary"] > 0 for time in report["ms_per_image"].values())
    memory = report["memory"]
    # 60 queries with 10 logits and 4 coordinates, 3600 pairs with two int64 indices and 1 + 20 float32 values.
    assert memory["prediction_MB"] == (60 * 14 * 4 + 3600 * (16 + 21 * 4)) / 1e6
    # The prediction at hand is in the peak, and one number for each pair of it would be more than all that is kept.
    assert memory["kept_kB"] < 14.4 < 1000 * memory["prediction_MB"] < 1000 * memory["peak_MB"]
