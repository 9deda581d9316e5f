"""`egtr export`: which file is written, and what is refused."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from egtr.checkpoint import load_checkpoint_file
from egtr.cli import main
from egtr.cli.export import choose_output, find_calibration
from egtr.cli.parsing import UsageError
from egtr.config import get_egtr_cfg
from egtr.structures import EGTRError


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"weight": torch.ones(3)}, "iteration": 7}, "model_final.pth")
    return "model_final.pth"


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--output", "a.safetensors"], "a.safetensors"),
        (["--format", "safetensors"], "model_final.safetensors"),
        (["--format", "pth", "--output", "b.pth"], "b.pth"),
    ],
)
def test_what_is_written(checkpoint, words, written, capsys):
    assert main(["export", checkpoint, *words]) == 0
    assert capsys.readouterr().out == f"{written}: 0.00 MB\n"
    assert load_checkpoint_file(written)["model"]["weight"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("output", "format", "message"),
    [
        (None, None, "give --output or --format"),
        (Path("a.pth"), "safetensors", "a.pth: does not end in .safetensors, as --format safetensors asks"),
        (None, "pth", "model.pth: is the checkpoint itself"),
        (Path("folder/../model.pth"), None, "is the checkpoint itself"),
    ],
)
def test_what_is_not(output, format, message):
    with pytest.raises(UsageError, match=message):
        choose_output(Path("model.pth"), output, format)


def test_errors_are_one_line(checkpoint, capsys):
    assert main(["export", "nowhere.pth", "--output", "a.pth"]) == 1
    assert main(["export", checkpoint, "--output", "a.bin"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("egtr export: error: nowhere.pth: ") and second.startswith("egtr export: error: a.bin")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onnx"], "give --output FILE.onnx"),
        (["--format", "openvino", "--output", "a.onnx"], "give --output FILE.xml"),
        (["model_final.pth", "--output", "a.xml"], "--format openvino takes --model or --config-file"),
        (["--output", "a.xml", "--int8"], "--int8 and --calibrate belong together, and to --format openvino"),
        (["--output", "a.xml", "--calibrate", "."], "--int8 and --calibrate belong together"),
        (["--output", "a.onnx", "--int8", "--calibrate", "."], "belong together, and to --format openvino"),
        (["--format", "onnx", "--output", "a.pth"], "give --output FILE.onnx"),
        (["model_final.pth", "--output", "a.onnx"], "with MODEL.WEIGHTS, no checkpoint"),
        (["model_final.pth", "--output", "a.pth", "--size", "3x4"], "belong to --format onnx"),
        (["--output", "a.onnx", "--size", "3x0"], "'3x0': give dynamic, or height and width such as 480x640"),
    ],
)
def test_arguments_of_onnx_and_of_weights_do_not_mix(checkpoint, words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["export", *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("number", "places"), [(2, [0, 1]), (3, [0, 1, 2]), (5, [0, 1, 3]), (9, [0, 3, 6])])
def test_images_of_a_folder_for_int8_are_spread_over_it(number, places, tmp_path, monkeypatch):
    monkeypatch.setattr("egtr.cli.export.CALIBRATION", 3)
    for index in range(number):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    found = find_calibration(str(tmp_path), get_egtr_cfg())
    assert [int(Path(path).stem) for path in found] == places


def test_images_of_a_dataset_for_int8(scenes):
    found = find_calibration("scenes_train", get_egtr_cfg())
    assert len(set(found)) == 60 and all(Path(path).is_file() for path in found)
    with pytest.raises(EGTRError, match="scenes_trian"):
        find_calibration("scenes_trian", get_egtr_cfg())


@pytest.mark.slow
@pytest.mark.own_process
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_shipped_model_in_int8(tmp_path, scenes, capsys):
    """The command writes both files, and says how much of the float32 graphs int8 keeps."""
    from egtr.lite import LitePredictor

    file = tmp_path / "scenes.xml"
    words = ["--output", str(file), "--int8", "--calibrate", "scenes_train"]
    assert main(["export", "--model", "scenes", *words]) == 0
    found = re.search(
        r"(\d+)% of the layers are int8, which keeps (\S+)% of the best triplets", capsys.readouterr().out
    )
    assert int(found[1]) > 0 and 96.5 <= float(found[2]) <= 100
    image = next(scenes.rglob("*.png"))
    assert len(LitePredictor(file)(image).for_display(0.001).triplets)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_shipped_model_as_onnx(tmp_path, capsys):
    """From the name to the graph of a drawn image: the same 50 best triplets as in PyTorch."""
    from egtr.data.scenes.generate import draw_scene
    from egtr.inference import EGTRPredictor
    from egtr.lite import LitePredictor

    file = tmp_path / "scenes.onnx"
    assert main(["export", "--model", "scenes", "--output", str(file)]) == 0
    out = capsys.readouterr().out
    assert "largest difference to PyTorch" in out and "scenes.onnx: " in out
    lite, torch_model = LitePredictor(file), EGTRPredictor.create("scenes")
    assert lite.info.name == "scenes" and lite.class_names == torch_model.class_names
    for index in range(5):
        image = draw_scene(0, "val", index)[0]
        graphs = [model(image, "RGB") for model in (lite, torch_model)]
        best = [{tuple(row) for row in graph.triplets[:50].tolist()} for graph in graphs]
        assert len(best[0] & best[1]) >= 49
