"""Shared models by name: listed, described, fetched once, drawn with, removed."""

import pytest

from egtr.checkpoint import EGTRCheckpointer
from egtr.cli import main
from egtr.hub.models import get_model, list_fetched, read_info, remove_model
from egtr.hub.shared import get_shared_folder, parse_name, read_shared_info
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError, DownloadError, ModelInfo
from tests.hub.internet import Served

NAME = "hf:user/tiny"


@pytest.fixture
def shared(internet, make_cfg, tmp_path):
    """The Hub has a model."""
    from detectron2.modeling import build_model

    weights = EGTRCheckpointer(build_model(make_cfg()), str(tmp_path)).save_weights("random")
    info = ModelInfo(description="Tiny.", domain="drawings", licence="MIT", metrics={"R@50": 12.5})
    folder = EGTRPredictor(make_cfg({"MODEL.WEIGHTS": weights})).save_pretrained(tmp_path / "mine", info)
    for path in folder.iterdir():
        internet.files[f"{NAME}/{path.name}"] = Served(path.read_bytes())
    return internet


def test_one_command_from_the_name_to_the_drawn_image(shared, tiny_dataset, tmp_path, capsys):
    image = next((tiny_dataset.root / "images").iterdir())
    words = ["demo", str(image), "--model", NAME, "--output", str(tmp_path / "out"), "MODEL.DEVICE", "cpu"]
    # No one has agreed, and no one can be asked.
    assert main(words) == 1
    assert f"{NAME}: is not here. `egtr models get {NAME}` fetches it" in capsys.readouterr().err
    assert not get_shared_folder(NAME).exists()

    assert main([*words[:2], "--yes", *words[2:]]) == 0
    shown = capsys.readouterr().err
    assert f"{NAME}: Tiny." in shown and "licence   MIT" in shown and "0 MB" in shown
    assert len(list((tmp_path / "out").glob("*.json"))) == 1
    shared.files.clear()
    assert main(words) == 0


def test_models_lists_describes_and_removes_it(shared, capsys):
    assert main(["models", "get", NAME, "--yes"]) == 0
    assert capsys.readouterr().out.strip() == str(get_shared_folder(NAME))
    assert list_fetched() == [NAME] and read_info(NAME).domain == "drawings"
    assert main(["models"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME))
    assert "here" in line and "drawings" in line and "R@50 12.5" in line
    assert main(["models", "info", NAME]) == 0
    assert "thing0, thing1" in capsys.readouterr().out
    for option in ("names_files", "local_files"):
        with pytest.raises(ConfigurationError, match="leave out --names and --file"):
            get_model(NAME, **{option: ["vg150"]})
    assert main(["models", "remove", NAME]) == 0
    assert list_fetched() == [] and not get_shared_folder(NAME).exists()
    with pytest.raises(ConfigurationError, match="nothing of it is here"):
        remove_model(NAME)


def test_weights_of_a_training_by_name(shared, make_cfg):
    """MODEL.WEIGHTS of a training may name it, and so may the command line."""
    from detectron2.modeling import build_model

    get_model(NAME, agreed=True)
    model = build_model(make_cfg())
    checkpointer = EGTRCheckpointer(model)
    checkpointer.load(f"egtr://models/{NAME}")
    assert not checkpointer.incompatible.missing_keys


def test_a_record_is_asked_for_without_the_weights(shared, capsys):
    assert main(["models", "info", NAME]) == 0
    shown = capsys.readouterr().out
    assert "to be fetched" in shown and "MIT" in shown and "thing0, thing1" in shown
    assert read_shared_info(NAME).licence == "MIT"
    assert shared.gets("model.safetensors") == []


def test_a_download_that_was_cut_continues(shared):
    weights = shared.files[f"{NAME}/model.safetensors"]
    weights.cuts = [1000] * 20
    with pytest.raises(DownloadError, match=f"{NAME}: cannot be fetched"):
        get_model(NAME, agreed=True)
    assert list_fetched() == []
    weights.cuts.clear()
    folder = get_model(NAME, agreed=True)
    assert (folder / "model.safetensors").read_bytes() == weights.content


@pytest.mark.parametrize(
    "name",
    ["hf:user", "hf:", "hf:a/b/c", "hf:../x", "hf:x/..", "hf:user/a b", "hf:user/.git", "a--b/c", "a/b--c", "a/b..c"],
)
def test_names_that_are_none(name):
    with pytest.raises(ConfigurationError, match="Write hf:USER/REPOSITORY"):
        parse_name(name)


def test_revisions_have_folders_of_their_own(home):
    folders = {get_shared_folder(NAME, revision) for revision in (None, "main", "v1", "a/b")}
    assert len(folders) == 4 and all(folder.parent == home / "shared" for folder in folders)
