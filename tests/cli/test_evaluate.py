"""`egtr evaluate`: its scores, which `egtr score` finds again in what it saves."""

import json

import pytest

from egtr.cli import main


def test_a_plain_name_is_a_dataset_and_a_model(scenes, tmp_path):
    assert main(["evaluate", "--model", "scenes", "--output", "run", "DATASETS.TEST", "scenes_test"]) == 0
    metrics = json.loads((tmp_path / "run/scene_graph_scenes_test.json").read_text())["protocols"]["reference"]
    assert metrics["metrics"]["num_images"] == 4 and metrics["metrics"]["R@50"] > 50


def test_its_help_is_its_own(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    texts = {}
    for command in ("evaluate", "train"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        texts[command] = capsys.readouterr().out
    assert all("--opts" in text and "--output DIR" in text for text in texts.values())
    assert "--eval-only" not in texts["evaluate"] and "--eval-only" in texts["train"]
    assert "--resume evaluate the last checkpoint in OUTPUT_DIR" in " ".join(texts["evaluate"].split())
    assert "--resume continue from the last checkpoint in OUTPUT_DIR" in " ".join(texts["train"].split())


def test_latency_is_measured_at_the_size_that_is_asked_for(scenes, tmp_path, caplog):
    words = "evaluate --model scenes --output run --latency --min-size 96 --max-size 128 DATASETS.TEST scenes_test"
    assert main([*words.split(), "DATALOADER.NUM_WORKERS", "0"]) == 0
    found = json.loads((tmp_path / "run/latency_scenes_test.json").read_text())
    assert (found["dataset"], found["images"], found["min_size"], found["max_size"]) == ("scenes_test", 4, 96, 128)
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["images_per_second"] == pytest.approx(1000 / found["mean_ms"])
    # Nothing is scored.
    assert not (tmp_path / "run/scene_graph_scenes_test.json").exists()


@pytest.mark.parametrize("words", ["--latency --num-gpus 2", "--latency --num-machines 2", "--min-size 0"])
def test_latency_of_several_processes_and_sizes_of_nothing_are_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--model", "scenes", *words.split()])
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_task_for_each_name(scenes, tmp_path, capsys, without_plot):
    words = "evaluate --model scenes --output run --task predcls,sgdet DATASETS.TEST scenes_test"
    assert main([*words.split(), "TEST.SCENE_GRAPH.SAVE_PREDICTIONS", "True", "DATALOADER.NUM_WORKERS", "0"]) == 0
    found = {
        task: json.loads((tmp_path / f"run/scene_graph{task}_scenes_test.json").read_text())["protocols"]["reference"]
        for task in ("_predcls", "")
    }
    assert found["_predcls"]["metrics"]["A@50"] > 50 and "A@50" not in found[""]["metrics"]
    assert "AP" in found[""]["metrics"] and "AP" not in found["_predcls"]["metrics"]
    assert not (tmp_path / "run/scene_graph_sgcls_scenes_test.json").exists()
    capsys.readouterr()
    assert main(["score", "run/predictions_predcls_scenes_test"]) == 0
    assert f"{found['_predcls']['metrics']['A@50']:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["--task phrdet", "--task predcls,", "--latency --task predcls,sgdet"])
def test_unknown_tasks_and_several_to_time_are_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--model", "scenes", *words.split()])
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]


def test_sizes_come_before_keys_that_say_otherwise(monkeypatch):
    seen = []
    monkeypatch.setattr("egtr.cli.train.run", lambda args: seen.append(args.opts) or 0)
    assert main("evaluate --model scenes --max-size 700 SEED 3".split()) == 0
    assert seen == [["INPUT.MAX_SIZE_TEST", "700", "SEED", "3"]]


@pytest.mark.slow
def test_predictions_of_the_shipped_model_score_the_same_without_it(scenes, tmp_path, capsys):
    words = ["DATASETS.TEST", "scenes_val", "OUTPUT_DIR", "run", "TEST.SCENE_GRAPH.PROTOCOLS", "strict,reference"]
    model = ["--config-file", "egtr://configs/scenes/egtr.yaml"]
    assert main(["evaluate", *model, *words, "TEST.SCENE_GRAPH.SAVE_PREDICTIONS", "True"]) == 0
    capsys.readouterr()
    saved = ["--predictions", "run/predictions_scenes_val", "--output", "scores"]
    assert main(["score", *saved, "--protocol", "reference", "strict"]) == 0
    printed = capsys.readouterr().out
    expected = json.loads((tmp_path / "run/scene_graph_scenes_val.json").read_text())["protocols"]
    found = json.loads((tmp_path / "scores/evaluation.json").read_text())["protocols"]
    assert set(found) == set(expected) == {"reference", "strict"}
    for protocol, entry in found.items():
        assert entry["metrics"] == pytest.approx(expected[protocol]["metrics"], abs=1e-6)
        assert entry["per_predicate"] == expected[protocol]["per_predicate"]
    metrics = expected["strict"]["metrics"]
    assert metrics["num_images"] == 20 and metrics["R@50"] > 50
    # The training set was counted and travelled along.
    assert "head-mR@50" in metrics and "zR@50" in metrics
    assert f"{metrics['R@50']:.2f}" in printed and "| strict" in printed
