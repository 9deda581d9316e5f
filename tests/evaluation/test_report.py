"""Results as tables, JSON and CSV. One protocol's results are worked out by hand in RESULTS."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from egtr.evaluation import PredicateRecall, evaluate, get_protocol
from egtr.evaluation.report import (
    metric_rows,
    predicate_rows,
    predicate_table,
    results_by_task,
    summary_table,
    to_json,
    to_percent,
    write_csv,
    write_report,
)
from egtr.structures import TripletCounts, WriteError
from tests.running import largest_file

NAN = float("nan")
# Three predicates; no scored image has the second.
PER_PREDICATE = PredicateRecall(
    num_triplets=np.array([3, 0, 5]),
    num_images=np.array([2, 0, 4]),
    recall={
        "R@20": np.array([0.5, np.nan, 0.25]),
        "R@50": np.array([1.0, np.nan, 0.25]),
        "ng-R@50": np.array([1.0, np.nan, 0.5]),
    },
)
METRICS = {
    "R@20": 0.25,
    "R@50": 0.5,
    "mR@20": np.float64(0.125),
    "mR@50": 0.75,
    "zR@20": NAN,
    "ng-R@50": 1.0,
    "AP": 0.1,
    "AP50": 0.2,
    "AP75": 0.05,
    "oi/R@50": 0.375,
    "oi/AP": 0.1,
    "oi/AP50": 0.3,
    "oi/APs": NAN,
    "num_images": 4,
    "per_predicate": PER_PREDICATE,
}
# Predicate 1 is annotated 30 times in training, 2 twice, 0 once: head, body, tail.
TRAINING = TripletCounts(np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 2]]), np.array([1, 10, 20, 2]), 2, 3)


def cells(table):
    """The rows of a Markdown table, header first."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if ":-" not in line]


def test_percent_of_fractions_but_not_of_counts():
    percent = to_percent(METRICS | {"intervals": {"R@20": (0.2, np.float64(0.5))}})
    assert percent["R@20"] == 25 and percent["mR@20"] == 12.5
    assert percent["num_images"] == 4
    assert percent["intervals"] == {"R@20": (20, 50)}
    assert math.isnan(percent["zR@20"])
    assert "per_predicate" not in percent


def test_results_by_task_for_detectron2():
    tasks = results_by_task({"motifs": METRICS, "own": {"R@20": 0.3, "AP": 0.1, "num_images": 4}}, {"AP": 0.2})
    assert list(tasks) == ["sgdet", "sgdet_own", "open_images", "bbox"]
    # Only numbers, neither counts nor predicates; objects have a task of their own, and what they have there holds.
    assert tasks["sgdet"]["mR@20"] == 12.5 and math.isnan(tasks["sgdet"]["zR@20"])
    assert set(tasks["sgdet"]) == {"R@20", "R@50", "mR@20", "mR@50", "zR@20", "ng-R@50", "AP50", "AP75"}
    assert tasks["sgdet_own"] == {"R@20": 30}
    assert tasks["open_images"] == pytest.approx({"R@50": 37.5, "AP": 10, "AP50": 30, "APs": NAN}, nan_ok=True)
    assert tasks["bbox"] == {"AP": 20}
    assert results_by_task({}, {"AP": 0.2}) == {"bbox": {"AP": 20}}


def test_results_of_other_tasks_have_no_objects():
    tasks = results_by_task({"motifs": METRICS, "own": {"R@20": 0.3, "A@20": 0.4}}, {}, "predcls")
    assert list(tasks) == ["predcls", "predcls_own", "predcls_open_images"]
    assert tasks["predcls"]["mR@20"] == 12.5 and tasks["predcls_own"] == {"R@20": 30, "A@20": 40}


def test_summary_table_has_a_row_for_all_k_and_a_column_for_each_protocol():
    # A protocol of one's own need not have every metric.
    second = {"R@20": 0.3, "R@50": 0.6, "num_images": 4}
    assert cells(summary_table({"reference": METRICS, "own": second})) == [
        ["percent", "reference", "own"],
        ["R@20 / 50", "25.00 / 50.00", "30.00 / 60.00"],
        ["mR@20 / 50", "12.50 / 75.00", "- / -"],
        ["zR@20", "-", "-"],
        ["ng-R@50", "100.00", "-"],
        ["AP / AP50 / AP75", "10.00 / 20.00 / 5.00", "- / - / -"],
        ["oi/R@50", "37.50", "-"],
        ["oi/AP / AP50", "10.00 / 30.00", "- / -"],
        ["oi/APs", "-", "-"],
    ]


def test_intervals_follow_their_metric():
    metrics = {"R@20": 0.25, "R@50": 0.5, "intervals": {"R@50": (0.4, 0.625)}}
    results = {"reference": metrics, "own": {"R@20": 0.3, "R@50": 0.6}}
    assert cells(summary_table(results))[1:] == [
        ["R@20 / 50", "25.00 / 50.00", "30.00 / 60.00"],
        ["R@50, 95% interval", "40.00 to 62.50", "-"],
    ]
    assert metric_rows(results) == [
        {
            "metric": "R@20",
            "reference": 25,
            "reference low": None,
            "reference high": None,
            "own": 30,
            "own low": None,
            "own high": None,
        },
        {
            "metric": "R@50",
            "reference": 50,
            "reference low": 40,
            "reference high": 62.5,
            "own": 60,
            "own low": None,
            "own high": None,
        },
    ]


def test_predicates_are_sorted_by_what_is_known_of_their_frequency():
    rows = predicate_rows(PER_PREDICATE, ["on", "has", "near"])
    assert [row["predicate"] for row in rows] == ["near", "on", "has"]
    assert rows[0] == {
        "predicate": "near",
        "triplets": 5,
        "images": 4,
        "R@20": 25,
        "R@50": 25,
        "ng-R@50": 50,
    }
    rows = predicate_rows(PER_PREDICATE, None, TRAINING)
    assert [(row["predicate"], row["group"], row["training_triplets"], row["triplets"]) for row in rows] == [
        ("predicate 1", "head", 30, 0),
        ("predicate 2", "body", 2, 5),
        ("predicate 0", "tail", 1, 3),
    ]


def test_predicate_table():
    assert cells(predicate_table(predicate_rows(PER_PREDICATE, ["on", "has", "near"], TRAINING))) == [
        ["predicate", "group", "in training", "triplets", "images", "R@20", "R@50"],
        ["has", "head", "30", "0", "0", "-", "-"],
        ["near", "body", "2", "5", "4", "25.00", "25.00"],
        ["on", "tail", "1", "3", "2", "50.00", "100.00"],
    ]


def test_nothing_to_say_of_no_predicate(tmp_path):
    # An empty dataset has no predictions that would say how many there are.
    results = {"reference": evaluate([], [])}
    assert predicate_table(predicate_rows(results["reference"]["per_predicate"])) == "(no predicates)"
    training = TripletCounts.from_class_triplets(np.zeros((0, 3)), num_classes=1, num_predicates=0)
    paths = write_report(tmp_path, "empty", results, [get_protocol("reference")], training=training)
    assert [path.name for path in paths] == ["empty.json", "empty.csv", "empty_predicates.csv"]


def test_json_holds_no_nan():
    text = to_json(
        {"a": NAN, "b": [np.float32(0.5), np.int64(3)], 5: np.array([1, 2]), "p": get_protocol("reference")}
    )
    # parse_constant is called only for NaN and Infinity.
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["a"] is None and read["b"] == [0.5, 3] and read["5"] == [1, 2]
    assert read["p"]["name"] == "reference" and read["p"]["iou_plus_one"] is True


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_keeps_every_digit_and_leaves_nan_empty(tmp_path):
    write_csv(tmp_path / "new" / "rows.csv", [{"name": 'über, "quoted"', "x": 100 / 3, "y": NAN}])
    assert read_csv(tmp_path / "new" / "rows.csv") == [{"name": 'über, "quoted"', "x": repr(100 / 3), "y": ""}]
    write_csv(tmp_path / "empty.csv", [])
    assert read_csv(tmp_path / "empty.csv") == []


def test_report_in_files(tmp_path):
    own = replace(get_protocol("reference"), name="own", iou_threshold=0.4)
    results = {"reference": METRICS, "own": METRICS}
    paths = write_report(
        tmp_path / "new",
        "run",
        results,
        [get_protocol("reference"), own],
        ["on", "has", "near"],
        TRAINING,
        dataset="vg",
    )
    assert [path.name for path in paths] == ["run.json", "run.csv", "run_predicates.csv", "run_predicates.png"]
    report = json.loads(paths[0].read_text(), parse_constant=pytest.fail)
    assert report["dataset"] == "vg" and report["unit"] == "percent"
    assert list(report["protocols"]) == ["reference", "own"]
    entry = report["protocols"]["own"]
    assert entry["conventions"]["iou_threshold"] == 0.4
    assert (
        entry["metrics"]["R@50"] == 50 and entry["metrics"]["zR@20"] is None and entry["metrics"]["num_images"] == 4
    )
    assert entry["per_predicate"][0]["predicate"] == "has" and entry["per_predicate"][0]["R@50"] is None
    metrics = {row["metric"]: row for row in read_csv(paths[1])}
    assert metrics["mR@20"] == {"metric": "mR@20", "reference": "12.5", "own": "12.5"}
    assert metrics["num_images"]["own"] == "4" and metrics["zR@20"]["own"] == ""
    rows = read_csv(paths[2])
    assert [(row["protocol"], row["predicate"]) for row in rows] == [
        (protocol, predicate) for protocol in ("reference", "own") for predicate in ("has", "near", "on")
    ]
    assert rows[1]["ng-R@50"] == "50.0"


def test_report_without_training_has_no_plot_and_of_objects_alone_no_predicates(tmp_path):
    paths = write_report(tmp_path, "a", {"reference": METRICS}, [get_protocol("reference")])
    assert [path.name for path in paths] == ["a.json", "a.csv", "a_predicates.csv"]
    paths = write_report(tmp_path, "b", {"objects": {"AP": 0.5}}, [], training=TRAINING)
    assert [path.name for path in paths] == ["b.json", "b.csv"]


@pytest.mark.parametrize(("room", "suffix"), [(10, ".json"), (10_000, "_predicates.png")])
def test_report_on_a_full_disk(tmp_path, room, suffix):
    with largest_file(room), pytest.raises(WriteError, match=f"a{suffix}: cannot be written .*too large"):
        write_report(
            tmp_path, "a", {"reference": METRICS}, [get_protocol("reference")], ["on", "has", "near"], TRAINING
        )


def test_table_on_a_full_disk(tmp_path):
    with largest_file(10), pytest.raises(WriteError, match="a.csv: cannot be written .*too large"):
        write_csv(tmp_path / "a.csv", [{"metric": "mR@20", "reference": 12.5}])
