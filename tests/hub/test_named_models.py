"""A model by name, in every command and in Python."""

import logging

import pytest
import torch

from egtr.checkpoint import EGTRCheckpointer
from egtr.cli import main
from egtr.cli.checks import use_model
from egtr.cli.serve import choose_models
from egtr.config import load_config
from egtr.experiments.sweep.definition import load_sweep
from egtr.hub.models import find_model_config, get_model, read_info, remove_model
from egtr.inference import EGTRPredictor
from egtr.serving import ModelStore
from egtr.structures import ConfigurationError
from egtr.structures.known_names import get_known_names
from tests.cli.running import parse

SMALL = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "96"]
CLASSES, PREDICATES = get_known_names("vg150")


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
    # Detectron2 opens the log of each folder once in a process, by its name.
    options = keys | {
        "SOLVER.MAX_ITER": 1,
        "OUTPUT_DIR": tmp_path / "run",
        "DATASETS.TEST": "()",
        "MODEL.DEVICE": "cpu",
    }
    options |= {"MODEL.EGTR.NUM_CLASSES": 5, "MODEL.EGTR.NUM_PREDICATES": 4, "MODEL.WEIGHTS": "egtr://models/vg150"}
    options |= {"MODEL.EGTR.CLASS_NAMES": "[]", "MODEL.EGTR.PREDICATE_NAMES": "[]"}
    words = [str(word) for pair in options.items() for word in pair]
    with caplog.at_level(logging.INFO):
        assert main(["train", "--config-file", str(fetched / "config.yaml"), *words]) == 0
    assert (tmp_path / "run/model_final.pth").is_file()
    assert "lacks these parameters" in (tmp_path / "run/log.txt").read_text()


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "demo", "explain --output o", "report --output o", "analyze model"]
)
def test_every_command_finds_the_configuration(fetched, command):
    for option in ("--model", "--config-file"):
        args = parse([*command.split(), option, "vg150"])
        use_model(args)
        assert args.config_file == str(fetched / "config.yaml")
    args = parse([*command.split(), "--config-file", "scenes", "--model", "vg150"])
    use_model(args)
    assert args.opts == ["MODEL.WEIGHTS", "egtr://models/vg150/model.safetensors"]


def test_a_server_offers_it_under_its_name(fetched):
    models = choose_models(parse(["serve", "--model", "vg150", "--model", "scenes"]))
    assert ModelStore(models, SMALL).names == ("vg150", "scenes")


def test_a_sweep_starts_from_it(fetched, tmp_path):
    path = tmp_path / "sweep.yaml"
    text = "CONFIG: {}\nOUTPUT_DIR: o\nSETTINGS: {{one: {{MODEL.WEIGHTS: egtr://models/{}}}}}\nSEEDS: [0]\n"
    path.write_text(text.format("vg150", "vg150"))
    assert load_sweep(path).config == str(fetched / "config.yaml")
    path.write_text(text.format("vg150", "oiv6"))
    with pytest.raises(ConfigurationError, match="setting 'one': oiv6: is not here"):
        load_sweep(path)


def test_words_that_name_a_model_fetch_it_before_processes_start(home, capsys):
    assert main(["train", "--config-file", "scenes", "MODEL.WEIGHTS", "egtr://models/oiv6"]) == 1
    assert "error: oiv6: is not here. `egtr models get oiv6` fetches it" in capsys.readouterr().err
    assert main(["train", "--config-file", "scenes", "MODEL.WEIGHTS", "egtr://models/nosuch"]) == 1
    assert "nosuch: is neither a file nor the name of a model" in capsys.readouterr().err


def test_so_do_files_before_several_processes_start(home, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("MODEL: {WEIGHTS: 'egtr://models/oiv6'}\n")
    assert main(["train", "--num-gpus", "2", "--config-file", str(tmp_path / "mine.yaml")]) == 1
    assert "oiv6: is not here" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vg15", "VG150", "nothing", "../vg150", "", ".", "vg150/..", "a\0b"])
def test_other_names_are_one_error_that_lists_the_models(home, name):
    for find in (find_model_config, get_model, read_info):
        with pytest.raises(ConfigurationError, match="scenes, scenes_deformable, vg150"):
            find(name)
    with pytest.raises(ConfigurationError, match="nothing of it is here"):
        remove_model(name)


@pytest.mark.parametrize("name", ["vg_150", "vg15", "VG150"])
def test_a_near_name_is_suggested(home, name):
    with pytest.raises(ConfigurationError, match=r"Did you mean vg150\?"):
        find_model_config(name)


def test_a_far_name_is_not(home):
    with pytest.raises(ConfigurationError, match="the name of a model. Models are"):
        find_model_config("nowhere.yaml")


def test_the_folder_may_be_moved(fetched, home, photo, monkeypatch, tmp_path):
    home.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("EGTR_HOME", str(tmp_path / "elsewhere"))
    assert EGTRPredictor.from_config_file("vg150", SMALL)(photo).class_names == tuple(CLASSES)
