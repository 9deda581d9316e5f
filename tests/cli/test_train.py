"""`egtr train`: whose configuration and weights a run gets, and that it trains."""

import pytest

from egtr.checkpoint import load_checkpoint_file
from egtr.cli import main, train
from egtr.hub.model_zoo import get_config_file, get_weights_file
from tests.cli.running import parse


def use(*words):
    args = parse(["train", *words])
    train.use_model(args)
    return args


def test_a_model_gives_configuration_and_weights(tmp_path):
    args = use("--model", "scenes", "SEED", "3")
    assert (args.config_file, args.opts) == (get_config_file("scenes/egtr.yaml"), ["SEED", "3"])
    (tmp_path / "mine.yaml").write_text("SEED: 5\n")
    assert use("--model", str(tmp_path / "mine.yaml")).config_file == str(tmp_path / "mine.yaml")


def test_beside_a_file_it_gives_only_weights():
    args = use("--model", "scenes", "--config-file", "mine.yaml", "MODEL.WEIGHTS", "other.pth")
    # The later pair wins.
    assert args.config_file == "mine.yaml"
    assert args.opts == ["MODEL.WEIGHTS", "egtr://weights/scenes_egtr.pth", "MODEL.WEIGHTS", "other.pth"]
    args = use("--config-file", "mine.yaml")
    assert (args.config_file, args.opts) == ("mine.yaml", [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "nowhere: is neither a file nor a model that comes with EGTR. Models are: scenes"),
        (["--model", "scenes/Base-Scenes.yaml", "--config-file", "mine.yaml"], "its MODEL.WEIGHTS is empty"),
        (["--config-file", "nowhere.yaml"], "nowhere.yaml: there is no such configuration file"),
        (["SOLVER.BASE_LR"], "keys and values come in pairs, but there are 1 words: SOLVER.BASE_LR"),
        (["solver.base_lr", "1"], "there is no key solver.base_lr"),
        (["MODLE.DEVICE", "cpu"], "there is no key MODLE.DEVICE. Did you mean MODEL.DEVICE"),
    ],
)
def test_one_line(words, message, capsys):
    assert main(["train", *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("egtr train: error: ") and message in error


def test_trains_from_the_weights_of_a_model(scenes, tmp_path, capsys):
    words = ["--model", "scenes", "SOLVER.MAX_ITER", "1", "SOLVER.BASE_LR", "0.0", "OUTPUT_DIR", "run"]
    words += ["SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0", "DATASETS.TEST", "()"]
    words += ["INPUT.MIN_SIZE_TRAIN", "64,", "MODEL.EGTR.FREEZE_DETECTOR", "True"]
    assert main(["train", *words]) == 0
    trained = load_checkpoint_file(str(tmp_path / "run/model_final.pth"))["model"]
    begun = load_checkpoint_file(get_weights_file("scenes_egtr.pth"))["model"]
    name = next(name for name in begun if name.startswith("backbone.") and name.endswith("weight"))
    assert (trained[name] == begun[name].float()).all()
