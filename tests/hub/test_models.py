"""Models by name, from an archive on a server of this machine to a drawn image."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from safetensors.torch import save_file

import egtr
from egtr.checkpoint import EGTRCheckpointer, load_checkpoint_file
from egtr.cli import main
from egtr.config import load_config
from egtr.hub import catalogue
from egtr.hub.catalogue import Entry, RemoteFile, read_catalogue
from egtr.hub.models import get_model, list_fetched, read_info, remove_model
from egtr.inference import EGTRPredictor
from egtr.structures import DataError, DownloadError, EGTRError, ModelInfo, WeightsError
from egtr.structures.known_names import get_known_names
from egtr.structures.model_info import METADATA_KEY
from tests.checkpoint.artifacts import write_artifact
from tests.golden_cases import FOLDER, GoldenCase
from tests.hub.internet import Served
from tests.hub.released import make_tar, make_zip, released_weights

SMALL = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "96"]
CLASSES, PREDICATES = get_known_names("vg150")


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


def test_a_file_fetched_in_a_browser_needs_no_internet(home, archives, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EGTR_OFFLINE", "1")
    archive = tmp_path / "downloaded.tar.gz"
    archive.write_bytes(archives["oiv6_detector"])
    assert main(["models", "get", "oiv6_detector", "--file", str(archive)]) == 0
    assert capsys.readouterr().out == f"{home}/models/oiv6_detector\n"
    assert list_fetched() == ["oiv6_detector"] and archive.is_file()
    assert main(["models", "get", "vg150", "--file", str(archive)]) == 1
    assert "but 39e9f9ee9ff755ad" in capsys.readouterr().err
    assert main(["models", "get", "vg150", "--file", "a", "b"]) == 1
    assert "is made of egtr_vg.tar.gz, but 2 files are given" in capsys.readouterr().err
    assert main(["models", "get", "oiv6", "--file", "nowhere"]) == 1
    assert "nowhere: there is no such file" in capsys.readouterr().err


def test_names_may_be_given_at_once(released, tmp_path):
    (tmp_path / "names.json").write_text(json.dumps({"obj": ["x"] * 13, "rel": ["y"] * 6}))
    get_model("oiv6", agreed=True, names_files=[tmp_path / "names.json"])
    assert read_info("oiv6").predicate_names == ("y",) * 6


def test_files_without_names_are_refused_before_the_download(released, tmp_path):
    (tmp_path / "names.json").write_text('{"things": []}')
    for names in (tmp_path, tmp_path / "names.json", tmp_path / "nowhere.json"):
        with pytest.raises(DataError, match=f"^{names}: "):
            get_model("oiv6", agreed=True, names_files=[names])
    assert not released.asked


def test_an_archive_that_cannot_be_converted_stays(internet, home, tmp_path, archives):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("nothing")
    content = make_tar(tmp_path / "folder", tmp_path / "x.tar.gz")
    internet.files[read_catalogue()["oiv6"].files[0].address] = Served(content)
    with pytest.raises(DownloadError, match="holds no released model.*What was fetched stays: .*egtr_oi.tar.gz"):
        get_model("oiv6", agreed=True)
    assert [path.name for path in (home / "models").iterdir()] == ["oiv6.lock"]
    assert (home / "downloads/oiv6/egtr_oi.tar.gz").read_bytes() == content
    assert remove_model("oiv6") == len(content)


def with_labels(weights, classes, predicates):
    """Repeat the rows of labels in weights of FROSS until there are as many as asked for."""
    sizes = {
        "score_head": (classes,),
        "triplet_dist": (classes + 1, classes + 1, predicates),
        "rel_dist": (predicates,),
        "rel_predictor.layers.2": (predicates,),
    }
    changed = dict(weights)
    for name, value in weights.items():
        for part, numbers in sizes.items():
            if part in name:
                for axis, number in enumerate(numbers):
                    rows = torch.arange(number) % value.shape[axis]
                    value = value.index_select(axis, rows)
                changed[name] = value.contiguous()
    return changed


def test_relations_on_rt_detr_have_the_names_of_visual_genome(internet, tmp_path, photo):
    record = json.loads((FOLDER / "rtdetr_small.json").read_text())
    weights = with_labels(GoldenCase("rtdetr_small").reference_state_dict, len(CLASSES), len(PREDICATES))
    deep = tmp_path / "egtr__RT-DETR__VG__last.pth/batch__6__epochs__50_25/version_0"
    write_artifact(deep, record["config"] | {"num_rel_labels": len(PREDICATES)}, weights, epoch=24)
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in deep.rglob("*") if path.is_file()}
    internet.files[read_catalogue()["rtdetr_vg150"].files[0].address] = Served(make_zip(files))
    # Many equal labels share the scores, and none is high.
    words = ["--model", "rtdetr_vg150", "--confidence-threshold", "0", "--output", "out", "--yes"]
    assert main(["demo", photo, *words, "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "96"]) == 0
    graph = json.loads(Path("out/photo.json").read_text())
    assert graph["class_names"] == CLASSES and graph["predicate_names"] == PREDICATES and graph["relations"]
    with Image.open("out/photo.png") as image:
        assert np.asarray(image).std() > 20


@pytest.mark.parametrize("name", [f"rtdetrv2_{size}_coco" for size in ("r18", "r34", "r50m", "r50")])
def test_a_detector_of_rt_detr_from_its_name_to_boxes(name, internet, tmp_path, photo):
    """The weights are few, so that each has the layers of the smallest; their file is as the authors write it."""
    weights = with_labels(GoldenCase("rtdetr_small").reference_state_dict, 80, 7)
    prefix = "obj_det_model."
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    torch.save({"ema": {"module": own, "updates": 1}}, tmp_path / "weights.pth")
    (file,) = read_catalogue()[name].files
    internet.files[file.address] = Served((tmp_path / "weights.pth").read_bytes())
    folder = get_model(name, agreed=True)
    info = read_info(name)
    assert list(info.class_names) == get_known_names("coco")[0] and info.predicate_names is None
    model = build_model(load_config(folder / "config.yaml", ["MODEL.DEVICE", "cpu", "MODEL.EGTR.NUM_QUERIES", "24"]))
    EGTRCheckpointer(model.eval()).load(str(folder / "model.safetensors"))
    with torch.no_grad():
        (result,) = model([{"image": torch.full((3, 96, 128), 90, dtype=torch.uint8)}])
    found = result["instances"]
    assert len(found) and len(found.pred_boxes) == len(found.scores) and found.pred_classes.max() < 80
    assert (found.pred_boxes.tensor[:, 2:] > found.pred_boxes.tensor[:, :2]).all()


def test_relations_on_rt_detr_come_from_a_zip_with_a_folder_named_like_a_file(internet, home, tmp_path, photo):
    record = json.loads((FOLDER / "rtdetr_small.json").read_text())
    weights = GoldenCase("rtdetr_small").reference_state_dict
    deep = tmp_path / "egtr__RT-DETR__3RScan20__last.pth/batch__6__epochs__50_25/version_0"
    write_artifact(deep, record["config"], weights, epoch=24)
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in deep.rglob("*") if path.is_file()}
    internet.files[read_catalogue()["rtdetr_3rscan"].files[0].address] = Served(make_zip(files))
    words = ["--model", "rtdetr_3rscan", "--output", "out", "--yes", "MODEL.DEVICE", "cpu"]
    assert main(["demo", photo, *words, "INPUT.MIN_SIZE_TEST", "96"]) == 0
    assert json.loads(Path("out/photo.json").read_text())["relations"]
    with Image.open("out/photo.png") as image:
        assert np.asarray(image).std() > 20
    assert read_info("rtdetr_3rscan").dataset == "3RScan"


def test_a_file_that_is_no_archive_is_converted_as_it_is(internet, home, monkeypatch):
    """RT-DETR's authors publish plain weights."""
    asked = []

    def convert(source, *args, **options):
        asked.append((source.read_bytes(), options["names_files"]))
        raise WeightsError("no further")

    monkeypatch.setattr("egtr.checkpoint.convert_artifact", convert)
    (file,) = read_catalogue()["rtdetrv2_r18_coco"].files
    internet.files[file.address] = Served(redirect="https://objects.example.net/file")
    internet.files["https://objects.example.net/file"] = Served(b"weights")
    with pytest.raises(WeightsError, match="no further. What was fetched stays: .*rerun_48.1.pth"):
        get_model("rtdetrv2_r18_coco", agreed=True)
    assert asked == [(b"weights", ("coco",))]


def test_a_damaged_archive_is_fetched_again(released, archives, home):
    """A server without the means to say so may have changed the file between two halves of a download."""
    address = read_catalogue()["oiv6_detector"].files[0].address
    sound = released.files[address].content
    released.files[address] = Served(sound[: len(sound) // 2] + bytes(len(sound) // 2))
    with pytest.raises(DownloadError, match="Fetch it again"):
        get_model("oiv6_detector", agreed=True)
    assert not list((home / "downloads/oiv6_detector").glob("*.gz"))
    released.files[address] = Served(sound)
    get_model("oiv6_detector", agreed=True)
    assert list_fetched() == ["oiv6_detector"]


def test_a_file_that_is_no_archive_in_place_of_one(released, archives, home):
    """Its hash is forgotten, too: it would refuse the sound file."""
    address = read_catalogue()["oiv6_detector"].files[0].address
    sound = released.files[address].content
    released.files[address] = Served(b"not an archive" * 1000)
    with pytest.raises(DownloadError, match="is no zip or tar archive, although .*gz is. Fetch it again"):
        get_model("oiv6_detector", agreed=True)
    released.files[address] = Served(sound)
    get_model("oiv6_detector", agreed=True)
    assert list_fetched() == ["oiv6_detector"]


def test_something_else_in_place_of_weights_does_not_bar_the_way(internet, home):
    """An error of the server is not the file whose hash is remembered."""
    (file,) = read_catalogue()["rtdetrv2_r18_coco"].files
    internet.files[file.address] = Served(b'{"error": "rate limited"}')
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"stays: .*48.1.pth \(`egtr models remove rtdetrv2_r18_coco` deletes"):
            get_model("rtdetrv2_r18_coco", agreed=True)
    assert remove_model("rtdetrv2_r18_coco") > 0
    internet.files[file.address] = Served(b'{"error": "rate limited again"}')
    with pytest.raises(WeightsError, match="What was fetched stays"):
        get_model("rtdetrv2_r18_coco", agreed=True)


def test_a_file_of_the_user_that_is_another_one_does_not_bar_the_way(home, archives, tmp_path):
    wrong, right = tmp_path / "wrong.tar.gz", tmp_path / "right.tar.gz"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/readme.txt").write_text("nothing")
    make_tar(tmp_path / "folder", wrong)
    right.write_bytes(archives["oiv6_detector"])
    with pytest.raises(DownloadError, match=r"holds no released model.*What was fetched stays: \S*wrong.tar.gz$"):
        get_model("oiv6_detector", local_files=[wrong])
    get_model("oiv6_detector", local_files=[right])
    assert list_fetched() == ["oiv6_detector"]


def test_one_damaged_record_hides_no_other_model(fetched, home, capsys):
    weights = home / "models/vg150/model.safetensors"
    save_file({"weight": torch.zeros(1)}, weights, {METADATA_KEY: '{"version": 7}'})
    assert main(["models"]) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "its record is damaged" in rows["vg150"] and "ships" in rows["scenes"]
    assert err.startswith("egtr models: error: ") and "version is 7" in err


def test_a_home_directory_that_does_not_exist(monkeypatch, capsys):
    monkeypatch.setenv("EGTR_HOME", "~no-such-user/models")
    assert main(["models"]) == 1
    assert "there is no such home directory; name a folder for downloads in EGTR_HOME" in capsys.readouterr().err


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


def test_the_catalogue_says_what_it_must_of_every_model():
    for name, entry in read_catalogue().items():
        info = entry.info
        assert (
            info.name == name and info.domain and info.dataset and info.licence and info.origin and info.description
        )
        assert all(file.sha256_by for file in entry.files if file.sha256)
    names = [
        "scenes",
        "scenes_deformable",
        "vg150",
        "vg150_detector",
        "oiv6",
        "oiv6_detector",
        "rtdetr_vg150",
        "rtdetr_3rscan",
    ]
    assert list(read_catalogue()) == names + [f"rtdetrv2_{size}_coco" for size in ("r18", "r34", "r50m", "r50")]


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
