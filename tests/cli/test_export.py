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
    assert main(["export", checkpoint, "--output", "a.onnx"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("egtr export: error: nowhere.pth: ") and second.startswith("egtr export: error: a.onnx")
