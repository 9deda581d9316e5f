import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from egtr.checkpoint import EGTRCheckpointer, export_weights, find_new_parameters, load_checkpoint_file
from egtr.cli import main
from egtr.structures import EGTRError, WriteError
from tests.running import largest_file

ROOT = Path(__file__).parents[2]


class Toy(nn.Module):
    """A matrix, a vector, a table that is no parameter, and a head under two names."""

    def __init__(self, width: int = 3):
        super().__init__()
        self.linear = nn.Linear(2, width)
        self.heads = nn.ModuleList([nn.Linear(3, 3)] * 2)
        self.register_buffer("table", torch.randn(2, 2, 2) - 27)


def filled(model: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(value)
    return model


def save(state_dict: dict[str, torch.Tensor], path: Path) -> str:
    if path.suffix == ".pkl":
        arrays = {name: tensor.numpy() for name, tensor in state_dict.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "a test"}))
    elif path.suffix == ".pth":
        torch.save({"model": state_dict}, path)
    else:
        export_weights(state_dict, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl"])
def test_reads_every_format(tmp_path, suffix):
    path = save(filled(Toy(), 0.25).state_dict(), tmp_path / f"weights{suffix}")
    model = Toy()
    EGTRCheckpointer(model).load(path)
    assert all((tensor == 0.25).all() for tensor in model.state_dict().values())


def test_half_precision_takes_the_precision_of_the_model(tmp_path):
    path = save({"linear.weight": torch.full((3, 2), 0.1).half()}, tmp_path / "weights.safetensors")
    model = Toy()
    EGTRCheckpointer(model).load(path)
    assert model.linear.weight.dtype == torch.float32
    torch.testing.assert_close(model.linear.weight, torch.full((3, 2), 0.1), rtol=1e-3, atol=0)


def test_missing_and_misshapen_parameters_are_new(tmp_path):
    state_dict = Toy(width=4).state_dict()  # linear: 4 rows where the model has 3
    for name in ("heads.1.weight", "heads.1.bias", "heads.0.bias"):
        del state_dict[name]
    checkpointer = EGTRCheckpointer(model := Toy())
    checkpointer.load(save(state_dict, tmp_path / "weights.pth"))
    # heads.0 and heads.1 are one module: its weight came under one of its names, its bias under none.
    assert find_new_parameters(model, checkpointer.incompatible) == ["linear.weight", "linear.bias", "heads.0.bias"]


def test_incomplete_weights_are_not_used(tmp_path):
    state_dict = Toy().state_dict()
    # A buffer is not trained either, and of the shared head one name is enough.
    for name in ("table", "heads.1.weight", "heads.1.bias"):
        del state_dict[name]
    path = save(state_dict, tmp_path / "weights.pth")
    checkpointer = EGTRCheckpointer(Toy())
    checkpointer.load(path)
    checkpointer.check_complete(path)
    for name in ("heads.0.bias", "linear.bias"):
        del state_dict[name]
    path = save(state_dict, tmp_path / "less.pth")
    checkpointer.load(path)
    with pytest.raises(EGTRError, match=r"less\.pth: lacks 2 parameters.*the first is linear\.bias\. Set MODEL"):
        checkpointer.check_complete(path)


def test_log_lists_what_did_not_fit(tmp_path, caplog):
    state_dict = Toy(width=4).state_dict() | {"decoder.extra": torch.zeros(1)}
    del state_dict["table"]
    path = save(state_dict, tmp_path / "weights.pth")
    with caplog.at_level("INFO"):
        EGTRCheckpointer(Toy()).load(path)
    for expected in ("linear.weight", "(4, 2)", "(3, 2)", "table", "decoder.extra", "Loaded 4 tensors; 3 of"):
        assert expected in caplog.text


def test_export_halves_matrices_alone(tmp_path):
    model = Toy()
    size = export_weights(model, tmp_path / "half.safetensors", half=True)
    assert size == (tmp_path / "half.safetensors").stat().st_size
    tensors = load_checkpoint_file(str(tmp_path / "half.safetensors"))["model"]
    # The shared head is stored once.
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "linear.weight": torch.float16,
        "linear.bias": torch.float32,
        "heads.0.weight": torch.float16,
        "heads.0.bias": torch.float32,
        "table": torch.float32,
    }
    other = Toy()
    EGTRCheckpointer(other).load(str(tmp_path / "half.safetensors"))
    assert torch.equal(other.table, model.table)
    torch.testing.assert_close(other.heads[1].weight, model.heads[1].weight, rtol=1e-3, atol=1e-6)


def test_detectron2_reads_an_exported_pth(tmp_path):
    from detectron2.checkpoint import DetectionCheckpointer

    export_weights(filled(Toy(), 0.5), tmp_path / "weights.pth", half=True)
    model = Toy()
    DetectionCheckpointer(model).load(str(tmp_path / "weights.pth"))
    assert all((tensor == 0.5).all() for tensor in model.state_dict().values())


def test_export_refuses_other_endings(tmp_path):
    with pytest.raises(EGTRError, match=r"weights\.onnx.*\.safetensors or \.pth"):
        export_weights(Toy(), tmp_path / "weights.onnx")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_weights_on_a_full_disk(tmp_path, name):
    """One error that names the file; the weights that were there stay."""
    path = tmp_path / name
    export_weights(filled(Toy(), 0.5), path)
    before = path.read_bytes()
    large = {"weight": torch.ones(10_000)}
    with largest_file(1000), pytest.raises(WriteError, match=rf"{name}: cannot be written .*too large.*has room"):
        export_weights(large, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_saved_weights_are_not_resumed_from(tmp_path):
    checkpointer = EGTRCheckpointer(filled(Toy(), 0.5), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    path = checkpointer.save_weights("model_best", iteration=2, score=0.75)
    assert Path(checkpointer.get_checkpoint_file()).name == "model_0000001.pth"
    content = load_checkpoint_file(path)
    assert (content["iteration"], content["score"]) == (2, 0.75)
    assert (content["model"]["table"] == 0.5).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model_0000001.pth", "model_best.pth"]


class Bomb:
    """Creates a file where a reader runs the code that a pickle may hold."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_never_runs_code_of_a_file(tmp_path, suffix):
    path, trace = tmp_path / f"weights{suffix}", tmp_path / "was_here"
    content = {"model": {"table": np.zeros(1)}, "extra": Bomb(trace)}
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    checkpointer = EGTRCheckpointer(Toy())
    with pytest.raises(EGTRError, match=rf"weights\{suffix}.*"):
        checkpointer.load(str(path))
    assert not trace.exists()
    # The checkpointer is as good as new after a failure.
    checkpointer.load(save(Toy().state_dict(), tmp_path / "good.pth"))


@pytest.mark.parametrize(
    "content, message",
    [
        (torch.zeros(2), "holds a Tensor, expected a dict of tensors"),
        ({"model": {"a.b": torch.zeros(2), "c": torch.zeros(1)}}, "None of the 2 tensors.*convert_state_dict"),
    ],
)
def test_foreign_content_is_an_error(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(EGTRError, match=message):
        EGTRCheckpointer(Toy()).load(str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pkl"])
def test_damaged_file_is_an_error(tmp_path, suffix):
    path = Path(save(Toy().state_dict(), tmp_path / f"weights{suffix}"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EGTRError, match=rf"weights\{suffix}"):
        EGTRCheckpointer(Toy()).load(str(path))


def test_missing_file_names_key_and_remedy(tmp_path):
    with pytest.raises(EGTRError, match=r"nowhere\.pth: there is no such checkpoint.*MODEL\.WEIGHTS"):
        EGTRCheckpointer(Toy()).load(str(tmp_path / "nowhere.pth"))
    with pytest.raises(EGTRError, match=r"nowhere\.safetensors: EGTR comes with no such file"):
        EGTRCheckpointer(Toy()).load("egtr://weights/nowhere.safetensors")


def test_weights_from_a_server(tmp_path, serve):
    path = save(filled(Toy(), 0.25).state_dict(), tmp_path / "weights.pth")
    address = serve(tmp_path)
    for name in (f"{address}/weights.pth", f"{path}?matching_heuristics=False"):
        checkpointer = EGTRCheckpointer(model := Toy())
        checkpointer.load(name)
        assert (model.table == 0.25).all() and not checkpointer.incompatible.missing_keys
    with pytest.raises(EGTRError, match=r"none\.pth: cannot be fetched.*404.*network"):
        EGTRCheckpointer(Toy()).load(f"{address}/none.pth")


def test_export_tool(tmp_path, monkeypatch, capsys):
    save(Toy().state_dict(), tmp_path / "model_final.pth")
    monkeypatch.chdir(tmp_path)
    assert main(["export", "model_final.pth", "--output", "slim.safetensors", "--half"]) == 0
    assert capsys.readouterr().out.startswith("slim.safetensors: 0.00 MB")
    assert load_checkpoint_file("slim.safetensors")["model"]["linear.weight"].dtype == torch.float16
