"""The command of an installed wheel, in a folder where there is nothing else."""

import json
import os
import re
import signal
import subprocess
import urllib.request

import pytest
import yaml

from egtr.version import __version__


@pytest.fixture
def start(site, tmp_path):
    """A function that starts the command with some words, in ``tmp_path``."""
    environment = {key: value for key, value in os.environ.items() if key != "DETECTRON2_DATASETS"}

    def run(*words, **options):
        command = [str(site / "bin/egtr"), *map(str, words)]
        variables = environment | {"PYTHONPATH": str(site)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=tmp_path, env=variables, text=True, **pipes | options)

    return run


@pytest.fixture
def egtr(start):
    """A function that runs the command to its end and returns what it prints."""

    def run(*words):
        with start(*words) as process:
            printed, _ = process.communicate()
        assert process.returncode == 0, printed
        return printed

    return run


def test_commands_that_need_no_torch(egtr, tmp_path):
    assert egtr("--version") == f"egtr {__version__}\n"
    assert egtr("data", "prepare-scenes", "--sizes", 2, 1, 1).endswith("datasets/scenes: drawn\n")
    assert len(list((tmp_path / "datasets/scenes/images").iterdir())) == 4


@pytest.mark.slow
def test_from_a_dataset_to_a_server(egtr, start, tmp_path):
    egtr("data", "prepare-scenes", "--sizes", 12, 4, 4)
    words = ["SOLVER.MAX_ITER", 20, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"]
    egtr("train", "--model", "scenes", *words, "OUTPUT_DIR", "run", "DATASETS.TEST", "scenes_val")
    assert (tmp_path / "run/model_final.pth").is_file()

    model = ["run/config.yaml", "MODEL.WEIGHTS", "run/model_final.pth"]
    egtr("evaluate", "--config-file", *model, "OUTPUT_DIR", "scores", "DATASETS.TEST", "scenes_test")
    scores = json.loads((tmp_path / "scores/scene_graph_scenes_test.json").read_text())
    assert scores["protocols"]["reference"]["metrics"]["num_images"] == 4

    image = "datasets/scenes/images/test_00000.png"
    printed = egtr("demo", image, "--output", "graphs", "--model", *model)
    assert "graphs/test_00000.png graphs/test_00000.json" in printed
    assert json.loads((tmp_path / "graphs/test_00000.json").read_text())["relations"]

    printed = egtr("report", "--dataset", "scenes_test", "--limit", 2, "--output", "report.html", "--model", *model)
    assert "report.html: 2 images" in printed
    assert (tmp_path / "report.html").stat().st_size > 100_000

    printed = egtr("data", "check", "--dataset", "scenes_val", "--output", "check")
    assert "4 images" in printed and (tmp_path / "check/samples.png").is_file()
    printed = egtr(
        "data", "convert", "datasets/scenes/val.json", "--from", "egtr", "--to", "coco_sg", "--output", "mine"
    )
    rows = yaml.safe_load(printed[printed.index("DATASETS:") :])["DATASETS"]["REGISTER"]
    assert rows == [["mine_val", "coco_sg", "mine/val.json", "IMAGES"]]
    assert len(json.loads((tmp_path / "mine/val.json").read_text())["images"]) == 4

    with start("serve", "--port", 0, "--model", "run/config.yaml=run/model_final.pth") as process:
        try:
            address = re.search(r"Serving model_final at (http://\S+)", line := process.stdout.readline())
            assert address, line
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            data = (tmp_path / image).read_bytes()
            request = urllib.request.Request(f"{address[1]}api/v1/scene-graph?top_k=3", data)
            assert len(json.load(opener.open(request))["relations"]) == 3
            # It is ready as soon as its model has answered.
            assert json.load(opener.open(f"{address[1]}health")) == {"status": "ready"}
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
