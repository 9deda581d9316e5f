"""Models by name, from an archive on a server of this machine to a drawn image."""

import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import egtr
from egtr.checkpoint import EGTRCheckpointer, load_checkpoint_file
from egtr.cli import main
from egtr.config import load_config
from egtr.hub import catalogue, models
from egtr.hub.catalogue import Entry, RemoteFile, read_catalogue
from egtr.hub.models import find_model_config, get_model, list_fetched, read_info, remove_model
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError, DownloadError, EGTRError, ModelInfo
from egtr.structures.known_names import get_known_names
from tests.golden_cases import rule
from tests.hub.internet import Served
from tests.hub.released import make_tar, released_weights, write_released

SMALL = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "96"]
CLASSES, PREDICATES = get_known_names("vg150")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The bytes of each released archive by name, with few weights."""
    folder = tmp_path_factory.mktemp("released")
    kinds = {
        "vg150": {},
        "vg150_detector": {"detector": True},
        "oiv6": {"classes": 13, "predicates": 6},
        "oiv6_detector": {"classes": 13, "predicates": 6, "detector": True},
    }
    made = {}
    for name, options in kinds.items():
        made[name] = make_tar(write_released(folder / name, **options), folder / f"{name}.tar.gz")
    return made


@pytest.fixture
def released(internet, archives, monkeypatch):
    """Google Drive has the archives, and the catalogue the hash of the one that it knows."""
    entries = dict(read_catalogue())
    for name, content in archives.items():
        (file,) = entries[name].files
        internet.files[file.address] = Served(content)
        if file.sha256:
            file = dataclasses.replace(file, sha256=hashlib.sha256(content).hexdigest())
            entries[name] = dataclasses.replace(entries[name], files=(file,))
    for module in (models, catalogue):
        monkeypatch.setattr(module, "read_catalogue", lambda: entries)
    return internet


@pytest.fixture(scope="module")
def converted(archives, tmp_path_factory):
    """A folder of downloads in which vg150 has arrived."""
    home = tmp_path_factory.mktemp("converted")
    archive = home / "egtr_vg.tar.gz"
    archive.write_bytes(archives["vg150"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EGTR_HOME", str(home))
        models._install(read_catalogue()["vg150"], [archive], home / "models/vg150", ())
    return home


@pytest.fixture
def fetched(home, converted):
    """The folder of vg150, which is here."""
    shutil.copytree(converted / "models/vg150", home / "models/vg150")
    return home / "models/vg150"


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(rule.image("photo", 96, 128)).save("photo.jpg")
    return "photo.jpg"


def test_one_command_from_the_name_to_the_drawn_image(released, photo, home, capsys):
    assert main(["demo", "--model", "vg150", "--input", photo, "--output", "out", "--yes", *SMALL]) == 0
    said = capsys.readouterr()
    for words in ("150 classes, 50 predicates, photographs", "not stated for the weights", "MB", "gdrive:18phcRxb"):
        assert words in said.err
    with Image.open("out/photo.png") as image:
        assert np.asarray(image).std() > 20
    graph = json.loads(Path("out/photo.json").read_text())
    assert graph["class_names"] == CLASSES and graph["predicate_names"] == PREDICATES
    assert graph["relations"] and all(entry["class"] in CLASSES for entry in graph["objects"])
    # Nothing else stays: no archive, no half of a folder.
    assert sorted(path.name for path in (home / "models").iterdir()) == ["vg150", "vg150.lock"]
    files = {"config.yaml", "model.safetensors", "model_info.json", "source.json"}
    assert {path.name for path in (home / "models/vg150").iterdir()} == files
    assert not list((home / "downloads").iterdir())
    # The second time neither asks nor fetches.
    released.asked.clear()
    assert main(["demo", "--model", "vg150", "--input", photo, "--output", "again", *SMALL]) == 0
    assert not released.asked
    assert Path("again/photo.json").read_text() == Path("out/photo.json").read_text()


def test_the_weights_are_those_of_the_newest_epoch(fetched):
    weights = load_checkpoint_file(str(fetched / "model.safetensors"))["model"]
    assert torch.equal(weights["transformer.class_heads.0.bias"], released_weights()[1]["class_embed.0.bias"])


def test_the_record_goes_with_the_model(fetched):
    folder = fetched
    info = ModelInfo.load(folder / "model_info.json")
    assert info == ModelInfo.find(folder / "model.safetensors") == read_info("vg150")
    assert list(info.class_names) == CLASSES and list(info.predicate_names) == PREDICATES
    assert info.metrics["R@50"] == 30.211 and info.domain == "photographs" and info.name == "vg150"
    assert info.preprocessing["min_size"] == 800 and info.library_version == egtr.__version__
    (source,) = json.loads((folder / "source.json").read_text())
    assert source["address"] == read_catalogue()["vg150"].files[0].address and len(source["sha256"]) == 64


def test_the_name_works_wherever_a_model_is_named(fetched, photo):
    graph = EGTRPredictor.from_config_file("vg150", SMALL)(photo)
    assert list(graph.class_names) == CLASSES
    assert load_config("egtr://models/vg150").MODEL.WEIGHTS == "egtr://models/vg150/model.safetensors"
    cfg = load_config("egtr://models/vg150", SMALL)
    model = EGTRPredictor(cfg).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    EGTRCheckpointer(model).load("egtr://models/vg150")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("command", ["explain", "report"])
def test_other_commands_take_the_name(fetched, photo, command):
    assert main([command, photo, "--model", "vg150", "--output", "made", "--top-k", "2", *SMALL]) == 0


def test_training_starts_from_the_name(fetched, tmp_path, monkeypatch, tiny_options, caplog):
    """The weights that fit are taken; the heads for other numbers of classes are new."""
    monkeypatch.chdir(tmp_path)
    # Only what decides about the data and the length of the run; the model is the released one.
    keys = {key: value for key, value in tiny_options.items() if not key.startswith("MODEL")}
    options = keys | {"SOLVER.MAX_ITER": 1, "OUTPUT_DIR": "run", "DATASETS.TEST": "()", "MODEL.DEVICE": "cpu"}
    options |= {"MODEL.EGTR.NUM_CLASSES": 5, "MODEL.EGTR.NUM_PREDICATES": 4, "MODEL.WEIGHTS": "egtr://models/vg150"}
    options |= {"MODEL.EGTR.CLASS_NAMES": "[]", "MODEL.EGTR.PREDICATE_NAMES": "[]"}
    words = [str(word) for pair in options.items() for word in pair]
    with caplog.at_level(logging.INFO):
        assert main(["train", "--config-file", str(fetched / "config.yaml"), *words]) == 0
    assert (tmp_path / "run/model_final.pth").is_file()
    assert "lacks these parameters" in (tmp_path / "run/log.txt").read_text()


def test_without_a_terminal_nothing_is_fetched(released, photo, capsys):
    assert main(["demo", photo, "--model", "vg150", "--output", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("egtr demo: error: vg150: is not here. `egtr models get vg150` fetches it; --yes")
    assert "not stated for the weights" in line and not released.asked


@pytest.mark.parametrize(("answer", "fetched"), [("Yes\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_in_a_terminal_the_user_is_asked_once(released, monkeypatch, capsys, answer, fetched):
    class Terminal:
        def __init__(self, text=""):
            self.text = text

        def isatty(self):
            return True

        def readline(self):
            return self.text

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status = main(["models", "get", "vg150"])
    said = capsys.readouterr().err
    assert (status == 0) == fetched == ("vg150" in list_fetched())
    assert said.count("Fetch it? [y/N]") == 1 and "licence   not stated for the weights" in said
    if not fetched:
        assert "was not fetched, as you said" in said
    assert "0 MB" in said or "MB" in said


def test_without_internet_there_is_one_clear_line(home, monkeypatch, photo, capsys):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert main(["demo", photo, "--model", "vg150", "--yes", "--output", "out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("egtr demo: error: gdrive:18phcRxbrEI7HqIuM2OLAPuwAF5k3pUC2: cannot be fetched (")


def test_another_archive_than_the_known_one_is_refused(internet, archives, home):
    """The real entry: what this server sends is not the released file."""
    internet.files[read_catalogue()["vg150"].files[0].address] = Served(archives["vg150"])
    with pytest.raises(DownloadError, match=f"{hashlib.sha256(archives['vg150']).hexdigest()}, but 39e9f9ee9ff755ad"):
        get_model("vg150", agreed=True)
    assert not list_fetched()


def test_a_detector_has_names_and_says_that_it_finds_no_relations(released, photo, capsys):
    info = ModelInfo.load(get_model("vg150_detector", agreed=True) / "model_info.json")
    assert list(info.class_names) == CLASSES and info.predicate_names is None
    assert main(["demo", photo, "--model", "vg150_detector", "--output", "out", *SMALL]) == 1
    assert "detects objects but finds no relations" in capsys.readouterr().err


def test_names_of_open_images_come_from_the_users_file(released, photo, tmp_path, capsys):
    names = {"obj": [f"thing {i}" for i in range(13)], "rel": [f"does {i}" for i in range(6)]}
    (tmp_path / "categories_dict.json").write_text(json.dumps(names))
    folder = get_model("oiv6", agreed=True)
    assert read_info("oiv6").class_names is None
    assert "--names categories_dict.json" in capsys.readouterr().err
    weights = load_checkpoint_file(str(folder / "model.safetensors"))["model"]
    released.asked.clear()
    # Without another download.
    assert main(["models", "get", "oiv6", "--names", "categories_dict.json"]) == 0
    assert not released.asked
    assert list(read_info("oiv6").class_names) == names["obj"]
    assert EGTRPredictor.from_config_file("oiv6", SMALL)(photo).predicate_names == tuple(names["rel"])
    after = load_checkpoint_file(str(folder / "model.safetensors"))["model"]
    assert all(torch.equal(value, after[name]) for name, value in weights.items())
    with pytest.raises(EGTRError, match="names 150 classes, but the model has 13"):
        get_model("oiv6", names_files=["vg150"])
    assert list(read_info("oiv6").class_names) == names["obj"]


def test_names_may_be_given_at_once(released, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"obj": ["x"] * 13, "rel": ["y"] * 6}))
    get_model("oiv6", agreed=True, names_files=[tmp_path / "names.json"])
    assert read_info("oiv6").predicate_names == ("y",) * 6


def test_an_archive_that_cannot_be_converted_stays(internet, home, tmp_path, archives):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("nothing")
    content = make_tar(tmp_path / "folder", tmp_path / "x.tar.gz")
    internet.files[read_catalogue()["oiv6"].files[0].address] = Served(content)
    with pytest.raises(DownloadError, match="holds no released model.*The downloaded files stay in"):
        get_model("oiv6", agreed=True)
    assert [path.name for path in (home / "models").iterdir()] == ["oiv6.lock"]
    assert (home / "downloads/oiv6/egtr_oi.tar.gz").read_bytes() == content
    assert remove_model("oiv6") == len(content)


def test_list_info_and_remove(fetched, capsys):
    assert main(["models"]) == main(["models", "list"]) == 0
    first, second = capsys.readouterr().out.split("model  ")[1:]
    assert first == second
    rows = {line.split()[0]: line for line in first.splitlines() if line}
    assert "ships" in rows["scenes"] and "drawings" in rows["scenes"] and "to be fetched" in rows["oiv6"]
    assert "here" in rows["vg150"] and "30.2" in rows["vg150"]
    assert main(["models", "info", "vg150"]) == 0
    text = capsys.readouterr().out
    assert "airplane, animal" in text and "licence" in text and "Visual Genome test, 26,446 images" in text
    assert main(["models", "info", "vg150", "--json"]) == 0
    assert ModelInfo.from_json(capsys.readouterr().out) == read_info("vg150")
    assert main(["models", "remove", "vg150"]) == 0
    assert "vg150: removed" in capsys.readouterr().out
    assert not list_fetched()
    assert main(["models", "remove", "vg150"]) == 1
    assert "nothing of it is here" in capsys.readouterr().err
    assert main(["models", "remove", "scenes"]) == 1
    assert "comes with egtr and stays" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vg15", "VG150", "nothing", "../vg150", "", ".", "vg150/..", "a\0b"])
def test_other_names_are_one_error_that_lists_the_models(home, name):
    for find in (find_model_config, get_model, read_info):
        with pytest.raises(ConfigurationError, match="scenes, vg150"):
            find(name)
    with pytest.raises(ConfigurationError, match="nothing of it is here"):
        remove_model(name)


def test_a_near_name_is_suggested(home):
    with pytest.raises(ConfigurationError, match=r"Did you mean vg150\?"):
        find_model_config("vg_150")


def test_the_folder_may_be_moved(fetched, home, photo, monkeypatch, tmp_path):
    home.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("EGTR_HOME", str(tmp_path / "elsewhere"))
    assert EGTRPredictor.from_config_file("vg150", SMALL)(photo).class_names == tuple(CLASSES)


def test_the_catalogue_says_what_it_must_of_every_model():
    for name, entry in read_catalogue().items():
        info = entry.info
        assert (
            info.name == name and info.domain and info.dataset and info.licence and info.origin and info.description
        )
        assert all(file.sha256_by for file in entry.files if file.sha256)
    assert list(read_catalogue()) == ["scenes", "vg150", "vg150_detector", "oiv6", "oiv6_detector"]


def test_the_format_suffices_for_other_sources():
    """Zip archives of folders, plain weights with hash and size, and pairs of files on the Hub."""
    rows = [
        {"address": "https://example.org/v0.1/model.pth", "name": "model.pth", "size": 5, "sha256": "0" * 64,
         "sha256_by": "its publisher"},
        {"address": "hf:user/model/config.json", "name": "config.json"},
    ]  # fmt: skip
    entry = catalogue._parse("mine", files=rows, names={"classes": "coco"}, info={"domain": "photographs"})
    assert isinstance(entry, Entry) and entry.size is None and len(entry.info.class_names) == 80
    assert entry.files[1] == RemoteFile("hf:user/model/config.json", "config.json")
    assert entry.names == ("coco",)
