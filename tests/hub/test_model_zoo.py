"""Names of shipped files, and egtr:// paths wherever Detectron2 takes a path."""

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager

import egtr
from egtr.hub import model_zoo
from egtr.structures import EGTRError

egtr.register()


@pytest.fixture
def resources(tmp_path, monkeypatch):
    """A small tree of shipped files; ``local`` inherits out of projects/ from configs/."""
    files = {
        "configs/Base.yaml": "A: 1\nB: 1\n",
        "configs/scenes/small.yaml": "_BASE_: ../Base.yaml\nB: 2\n",
        "projects/EGTR/configs/local.yaml": "_BASE_: ../../../configs/scenes/small.yaml\nC: 3\n",
        "projects/EGTR/configs/Base.yaml": "A: hidden\n",
        "projects/EGTR/weights/small.pth": "weights",
        "projects/EGTR/weights/README.md": "text",
        "secret.txt": "not shipped",
    }
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(model_zoo, "resource_root", lambda: tmp_path / "root")
    return tmp_path / "root"


def load(path: str) -> dict:
    return CfgNode.load_yaml_with_base(path)


def test_lists_name_files_relative_to_their_folder(resources):
    assert model_zoo.list_configs() == ["Base.yaml", "local.yaml", "scenes/small.yaml"]
    assert model_zoo.list_weights() == ["small.pth"]


def test_configs_come_before_projects(resources):
    assert model_zoo.get_config_file("Base.yaml") == str(resources / "configs/Base.yaml")
    assert model_zoo.get_config_file("local.yaml") == str(resources / "projects/EGTR/configs/local.yaml")


@pytest.mark.parametrize("prefix", ["egtr://configs/", ""])
def test_inheritance_by_name_and_by_egtr_path(resources, prefix):
    def resolve(name):
        return prefix + name if prefix else model_zoo.get_config_file(name)

    assert load(resolve("scenes/small.yaml")) == {"A": 1, "B": 2}
    assert load(resolve("local.yaml")) == {"A": 1, "B": 2, "C": 3}


def test_unknown_names_list_what_there_is(resources):
    with pytest.raises(EGTRError, match=r"no\.yaml.*Base\.yaml, local\.yaml, scenes/small\.yaml"):
        model_zoo.get_config_file("no.yaml")
    with pytest.raises(EGTRError, match=r"no\.pth.*small\.pth"):
        PathManager.get_local_path("egtr://weights/no.pth")
    with pytest.raises(EGTRError, match="egtr://other/x.*configs/<name>, weights/<file> or models/<name>"):
        PathManager.get_local_path("egtr://other/x")


@pytest.mark.parametrize("name", ["../../outside.txt", "../../../outside.txt", "/etc/hostname", "scenes"])
def test_nothing_outside_the_shipped_files_is_reached(resources, name):
    (resources.parent / "outside.txt").write_text("outside")
    with pytest.raises(EGTRError):
        PathManager.open(f"egtr://configs/{name}")


def test_path_manager_reads_but_does_not_write(resources):
    assert PathManager.isfile("egtr://weights/small.pth")
    assert PathManager.exists("egtr://configs/scenes/small.yaml")
    assert not PathManager.exists("egtr://weights/no.pth")
    assert PathManager.isdir("egtr://weights/") and not PathManager.isdir("egtr://weights/small.pth")
    assert PathManager.ls("egtr://configs") == model_zoo.list_configs()
    with PathManager.open("egtr://weights/small.pth", "rb") as file:
        assert file.read() == b"weights"
    for mode in ("w", "ab", "r+"):
        with pytest.raises(EGTRError, match="read-only"):
            PathManager.open("egtr://weights/small.pth", mode)


def test_checkpointer_takes_egtr_paths(tmp_path, monkeypatch):
    folder = tmp_path / "projects/EGTR/weights"
    folder.mkdir(parents=True)
    saved = torch.nn.Linear(2, 3)
    torch.save({"model": saved.state_dict()}, folder / "linear.pth")
    monkeypatch.setattr(model_zoo, "resource_root", lambda: tmp_path)
    loaded = torch.nn.Linear(2, 3)
    DetectionCheckpointer(loaded).load("egtr://weights/linear.pth")
    assert torch.equal(loaded.weight, saved.weight) and torch.equal(loaded.bias, saved.bias)


def test_the_clone_has_what_the_library_names():
    """Every shipped configuration can be read, with all it inherits from."""
    assert model_zoo.list_configs()
    for name in model_zoo.list_configs():
        assert load(model_zoo.get_config_file(name)) == load(f"egtr://configs/{name}")
