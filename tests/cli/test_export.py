"""`egtr export`: which file is written, and what is refused."""

from pathlib import Path

import pytest
import torch

from egtr.checkpoint import load_checkpoint_file
from egtr.cli import main
from egtr.cli.export import choose_output
from egtr.cli.parsing import UsageError


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
