"""Models that are shared: written into a folder, uploaded, fetched, and equal to the bit."""

import copy
import json
import shutil

import huggingface_hub.constants
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from huggingface_hub import ModelCard, ModelHubMixin

from egtr.checkpoint import EGTRCheckpointer
from egtr.config import load_config
from egtr.hub.shared import get_shared_folder
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError, DownloadError, ModelInfo, WeightsError, WriteError
from tests.hub.conftest import home, internet  # noqa: F401 - fixtures
from tests.hub.internet import Served
from tests.hub.uploads import TOKEN

# huggingface_hub calls its own HTTP client in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

INFO = ModelInfo(
    name="tiny",
    description="A test | of <cards>.",
    domain="drawings",
    dataset="tiny",
    licence="Apache-2.0",
    metrics={"R@20": 12.345, "mR@20": None},
    evaluated_on="6 images",
    unknown={"colour": "red"},
)


@pytest.fixture
def predictor(make_cfg, tmp_path):
    weights = EGTRCheckpointer(build_model(make_cfg()), str(tmp_path)).save_weights("random")
    return EGTRPredictor(make_cfg({"MODEL.WEIGHTS": weights}))


@pytest.fixture
def hub(internet, monkeypatch):  # noqa: F811
    """The Hub on this machine, and a token that may write there."""
    # The library reads the environment when it is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return internet


def check_same(first, second, tiny_dataset):
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    file = DatasetCatalog.get(tiny_dataset.val)[0]["file_name"]
    # The record comes with the second one only, and with it the warning about drawings.
    graphs = [{**model(file).to_dict(), "warnings": None} for model in (first, second)]
    assert graphs[0] == graphs[1]


def test_folder_and_back(predictor, tmp_path, tiny_dataset):
    folder = predictor.save_pretrained(tmp_path / "mine", INFO)
    files = ["README.md", "config.yaml", "model.safetensors", "model_info.json"]
    assert sorted(path.name for path in folder.iterdir()) == files
    # The folder works wherever it lies.
    moved = shutil.move(folder, tmp_path / "elsewhere")
    again = EGTRPredictor.from_pretrained(moved)
    check_same(predictor, again, tiny_dataset)
    check_same(predictor, EGTRPredictor.create(f"{moved}/config.yaml"), tiny_dataset)
    assert again.class_names == tiny_dataset.thing_classes
    # Nothing of this machine is in it.
    assert str(tmp_path) not in (moved / "config.yaml").read_text()
    # From there into a further folder nothing changes, the record included.
    twice = again.save_pretrained(tmp_path / "elsewhere2")
    for name in ("model.safetensors", "model_info.json"):
        assert (twice / name).read_bytes() == (moved / name).read_bytes()
    first, second = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (moved, twice))
    assert first == second


def test_record_of_a_folder(predictor, tmp_path, tiny_dataset):
    folder = predictor.save_pretrained(tmp_path / "mine", INFO)
    info = ModelInfo.load(folder / "model_info.json")
    assert info.class_names == tiny_dataset.thing_classes
    assert info.predicate_names == tiny_dataset.predicate_classes
    assert (info.domain, info.metrics["R@20"], info.unknown) == ("drawings", 12.345, {"colour": "red"})
    assert ModelInfo.find(folder / "model.safetensors") == info


def test_a_model_that_was_given_inherits_no_metrics(predictor, tmp_path):
    """It may have been trained since its weights were loaded."""
    folder = predictor.save_pretrained(tmp_path / "mine", INFO)
    loaded = EGTRPredictor.from_pretrained(folder)
    given = EGTRPredictor(loaded.cfg, loaded.model)
    for model, metrics in ((loaded, INFO.metrics), (given, {})):
        assert ModelInfo.load(model.save_pretrained(tmp_path / "again") / "model_info.json").metrics == metrics


def test_card(predictor, tmp_path):
    card = (predictor.save_pretrained(tmp_path / "mine", INFO) / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["license"] == "apache-2.0" and data["library_name"] == "egtr"
    (result,) = data["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "R@20", "value": 12.345}]
    assert "A test \\| of &lt;cards>." in text
    assert "| R@20 | 12.35 |" in text or "| R@20 | 12.34 |" in text
    assert "mR@20" not in card
    assert "has never seen a photograph" in text


@pytest.mark.parametrize(
    ("licence", "name"), [(None, None), ("not stated", None), ("MIT", "mit"), ("of FROSS, see its file", "other")]
)
def test_licence_of_a_card(predictor, tmp_path, licence, name):
    card = (predictor.save_pretrained(tmp_path / "mine", ModelInfo(licence=licence)) / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1]).get("license") == name


def test_datasets_of_this_machine_stay_here(predictor, tmp_path):
    predictor.cfg.defrost()
    predictor.cfg.DATASETS.REGISTER = [["mine_train", "coco_sg", "/home/me/train.json", "/home/me"]]
    predictor.cfg.DATASETS.TRAIN = ("mine_train", "scenes_train")
    folder = predictor.save_pretrained(tmp_path / "mine")
    cfg = load_config(str(folder / "config.yaml"))
    assert cfg.DATASETS.REGISTER == [] and cfg.DATASETS.TRAIN == ("scenes_train",)
    assert cfg.MODEL.DEVICE == "cuda"


def test_a_base_finds_the_weights_too(predictor, tmp_path):
    folder = predictor.save_pretrained(tmp_path / "mine")
    (tmp_path / "own.yaml").write_text("_BASE_: mine/config.yaml\nSOLVER: {MAX_ITER: 5}\n")
    assert load_config(str(tmp_path / "own.yaml")).MODEL.WEIGHTS == str(folder / "model.safetensors")


def test_a_model_without_its_configuration_is_refused(predictor, tmp_path):
    with pytest.raises(ConfigurationError, match="without its configuration"):
        EGTRPredictor.create(predictor.model).save_pretrained(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    assert EGTRPredictor(predictor.cfg, predictor.model).save_pretrained(tmp_path / "mine").is_dir()


def test_a_failure_leaves_the_old_folder(predictor, tmp_path, monkeypatch):
    folder = predictor.save_pretrained(tmp_path / "mine", INFO)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("egtr.inference.sharing.export_weights", full)
    with pytest.raises(WriteError, match="mine: cannot be written .No space left on device"):
        predictor.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="file: cannot be written"):
        predictor.save_pretrained(tmp_path / "file")


def test_hub_and_back(predictor, hub, tiny_dataset):
    address = predictor.push_to_hub("user/tiny", INFO, private=True)
    assert address == f"{hub.hub}/user/tiny"
    assert hub.repositories["user/tiny"]["visibility"] == "private"
    files = sorted(hub.files)
    assert files == [
        f"hf:user/tiny/{n}" for n in ("README.md", "config.yaml", "model.safetensors", "model_info.json")
    ]
    # The weights went to the storage of large files, and nothing else.
    assert len(hub.large_files) == 1
    assert "--model hf:user/tiny" in hub.files["hf:user/tiny/README.md"].content.decode()

    again = EGTRPredictor.from_pretrained("user/tiny")
    check_same(predictor, again, tiny_dataset)
    hub.asked.clear()
    check_same(predictor, EGTRPredictor.from_pretrained("hf:user/tiny"), tiny_dataset)
    assert hub.asked == []


def test_a_second_upload_sends_only_changes(predictor, hub):
    predictor.push_to_hub("user/tiny", INFO)
    hub.asked.clear()
    predictor.push_to_hub("user/tiny", INFO)
    assert "PUT" not in {method for method, *_ in hub.asked}
    predictor.push_to_hub("user/tiny", ModelInfo(domain="photographs"))
    assert json.loads(hub.files["hf:user/tiny/model_info.json"].content)["domain"] == "photographs"
    # The fetched state stays until an update is asked for.
    EGTRPredictor.from_pretrained("user/tiny")
    predictor.push_to_hub("user/tiny", INFO)
    folder = EGTRPredictor.from_pretrained("user/tiny").cfg.MODEL.WEIGHTS.replace("model.safetensors", "")
    assert ModelInfo.load(f"{folder}model_info.json").domain == "photographs"
    EGTRPredictor.from_pretrained("user/tiny", update=True)
    assert ModelInfo.load(f"{folder}model_info.json").domain == "drawings"


def test_uploads_that_are_refused(predictor, hub, monkeypatch):
    with pytest.raises(WriteError, match=r"hf:other/tiny: .* answers 403 .*rights.*hf auth login"):
        predictor.push_to_hub("other/tiny")
    with pytest.raises(WriteError, match="answers 401"):
        predictor.push_to_hub("user/tiny", token="hf_wrong")
    hub.full = True
    with pytest.raises(WriteError, match="hf:user/tiny: cannot be uploaded .*403"):
        predictor.push_to_hub("user/tiny")
    assert hub.files == {}
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(WriteError, match="hf auth login"):
        predictor.push_to_hub("user/tiny")
    for name in ("tiny", "user/tiny/more", "user/..", "", "../user/tiny", "user/a b"):
        with pytest.raises(ConfigurationError, match="USER/REPOSITORY"):
            predictor.push_to_hub(name)
    assert hub.files == {}


def test_no_network(predictor, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WriteError, match="hf:user/tiny: cannot be uploaded .*Check the network"):
        predictor.push_to_hub("user/tiny")
    with pytest.raises(DownloadError, match="hf:user/tiny: cannot be fetched"):
        EGTRPredictor.from_pretrained("user/tiny")
    monkeypatch.setenv("EGTR_OFFLINE", "1")
    for call in (predictor.push_to_hub, EGTRPredictor.from_pretrained):
        with pytest.raises(DownloadError, match="EGTR_OFFLINE"):
            call("user/tiny")


def test_repositories_that_hold_no_model(hub, predictor, tmp_path):
    with pytest.raises(DownloadError, match="hf:user/nothing"):
        EGTRPredictor.from_pretrained("user/nothing")
    hub.files["hf:user/other/config.json"] = Served(b"{}")
    with pytest.raises(WeightsError, match="hf:user/other: has no config.yaml and no model.safetensors"):
        EGTRPredictor.from_pretrained("user/other")
    folder = predictor.save_pretrained(tmp_path / "mine")
    for name in ("config.yaml", "model.safetensors"):
        hub.files[f"hf:user/bad/{name}"] = Served((folder / name).read_bytes())
    hub.files["hf:user/bad/config.yaml"].content = b"MODEL: {WEIGHTS: https://elsewhere.example/weights.pkl}"
    with pytest.raises(WeightsError, match="must name its own model.safetensors"):
        EGTRPredictor.from_pretrained("user/bad")
    # An author who corrects it is heard.
    hub.files["hf:user/bad/config.yaml"].content = (folder / "config.yaml").read_bytes()
    hub.files["hf:user/bad/evil.pth"] = Served(b"x" * 100)
    weights = EGTRPredictor.from_pretrained("user/bad").cfg.MODEL.WEIGHTS
    assert sorted(p.name for p in type(folder)(weights).parent.iterdir() if p.is_file()) == [
        "config.yaml",
        "model.safetensors",
    ]


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(WeightsError, match="has no config.yaml"):
        EGTRPredictor.from_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="neither a folder nor USER/REPOSITORY"):
        EGTRPredictor.from_pretrained(tmp_path / "missing")


def test_it_is_the_mixin_of_the_hub(predictor, tmp_path):
    assert isinstance(predictor, ModelHubMixin)
    # The mixin would copy the configuration, with the paths of this machine, into a config.json.
    for each in (predictor, EGTRPredictor(predictor.cfg, model=predictor.model), copy.copy(predictor)):
        assert each._hub_mixin_config is None
        assert not (each.save_pretrained(tmp_path / "mine") / "config.json").exists()


def test_a_config_json_of_another_program_counts_for_nothing(predictor, tmp_path, tiny_dataset, caplog):
    folder = predictor.save_pretrained(tmp_path / "mine", INFO)
    (folder / "config.json").write_text('{"cfg": 1, "model": "other"}')
    check_same(predictor, EGTRPredictor.from_pretrained(folder), tiny_dataset)
    predictor.save_pretrained(folder)
    assert (folder / "config.json").read_text() == '{"cfg": 1, "model": "other"}'
    assert "config.json" not in caplog.text


def test_card_without_a_folder(predictor, tmp_path):
    card = predictor.generate_model_card(INFO, "mine")
    assert isinstance(card, ModelCard)
    assert card.data.license == "apache-2.0" and card.data.eval_results[0].metric_value == 12.345
    assert card.text == ModelCard.load(predictor.save_pretrained(tmp_path / "mine", INFO) / "README.md").text
    assert "USER/REPOSITORY" in predictor.generate_model_card().text


def test_calls_in_the_words_of_the_mixin(predictor, hub, tmp_path, tiny_dataset):
    saved = predictor.save_pretrained(
        save_directory=tmp_path / "mine",
        info=INFO,
        repo_id="user/tiny",
        push_to_hub=True,
        commit_message="The first one",
        private=True,
        token=TOKEN,
    )
    assert saved == f"{hub.hub}/user/tiny" and (tmp_path / "mine/config.yaml").is_file()
    assert hub.commits == [("main", "The first one")]
    assert hub.repositories["user/tiny"]["visibility"] == "private"
    assert json.loads(hub.files["hf:user/tiny/model_info.json"].content)["domain"] == "drawings"

    hub.files["hf:user/tiny/old.bin"] = Served(b"pickle")
    predictor.push_to_hub(repo_id="user/tiny", branch="next", commit_message="The next one", delete_patterns="*.bin")
    assert hub.commits[1:] == [("next", "The next one")] and "hf:user/tiny/old.bin" not in hub.files
    assert predictor.push_to_hub("user/tiny", create_pr=True) == f"{hub.hub}/user/tiny/discussions/1"
    with pytest.raises(ConfigurationError, match="branch and create_pr"):
        predictor.push_to_hub("user/tiny", branch="next", create_pr=True)

    words = {"revision": "next", "cache_dir": tmp_path / "cache", "token": TOKEN}
    again = EGTRPredictor.from_pretrained(pretrained_model_name_or_path="user/tiny", **words)
    check_same(predictor, again, tiny_dataset)
    assert again.cfg.MODEL.WEIGHTS.startswith(str(tmp_path / "cache"))
    assert not get_shared_folder("user/tiny", "next").exists()
    # A model that is here is not asked for, unless the caller wants it.
    hub.asked.clear()
    EGTRPredictor.from_pretrained("user/tiny", local_files_only=True, **words)
    assert hub.asked == []
    EGTRPredictor.from_pretrained("user/tiny", force_download=True, **words)
    assert hub.asked != []


def test_a_private_model_asks_for_a_token(predictor, hub, monkeypatch):
    predictor.push_to_hub("user/tiny")
    hub.private = True
    monkeypatch.delenv("HF_TOKEN")
    for token in (None, False, "hf_wrong"):
        with pytest.raises(DownloadError, match="hf:user/tiny: .*401.*hf auth login"):
            EGTRPredictor.from_pretrained("user/tiny", token=token)
    assert EGTRPredictor.from_pretrained("user/tiny", token=TOKEN).class_names == predictor.class_names


def test_local_files_only(hub, tmp_path):
    for options in ({}, {"cache_dir": tmp_path / "cache"}, {"force_download": True}, {"update": True}):
        with pytest.raises(DownloadError, match="hf:user/tiny: .*local_files_only forbids it. Leave it out"):
            EGTRPredictor.from_pretrained("user/tiny", local_files_only=True, **options)
    assert hub.asked == []


def test_arguments_of_an_upload_that_is_not_asked_for(predictor, tmp_path):
    for name, value in {"private": True, "token": "hf_x", "config": {}}.items():
        with pytest.raises(ConfigurationError, match=f"{name}: is for uploads only. Add push_to_hub=True"):
            predictor.save_pretrained(tmp_path / "mine", **{name: value})
    with pytest.raises(ConfigurationError, match="push_to_hub=True needs a repository; add repo_id"):
        predictor.save_pretrained(tmp_path / "mine", push_to_hub=True)
    assert not (tmp_path / "mine").exists()


def test_nothing_is_made_on_the_hub_for_a_model_that_cannot_be_saved(predictor, hub):
    with pytest.raises(ConfigurationError, match="without its configuration"):
        EGTRPredictor.create(predictor.model).push_to_hub("user/tiny")
    assert hub.asked == []
