"""`egtr train`: what it refuses, and that it trains."""

import pytest

from egtr.checkpoint import load_checkpoint_file
from egtr.cli import main
from egtr.hub.model_zoo import get_weights_file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "nowhere: is neither a file nor the name of a model. Models are: scenes"),
        (["--model", "scenes/Base-Scenes.yaml", "--config-file", "scenes/egtr.yaml"], "its MODEL.WEIGHTS is empty"),
        (["--model", "scene"], "the name of a model. Did you mean scenes? Models are: scenes"),
        (["--config-file", "egtr_train.yaml"], "Did you mean scenes/egtr_train.yaml?"),
        (["--config-file", "nowhere.yaml"], "nowhere.yaml: is neither a file nor the name of a model. Models are"),
        (["--model", "scenes", "solver.base_lr", "1"], "there is no key solver.base_lr"),
        (["--model", "scenes", "MODLE.DEVICE", "cpu"], "there is no key MODLE.DEVICE. Did you mean MODEL.DEVICE"),
    ],
)
def test_one_line(words, message, capsys):
    assert main(["train", *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("egtr train: error: ") and message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train", "give --config-file FILE or --model NAME|FILE, or at least DATASETS.TRAIN"),
        ("train SEED 3", "give --config-file FILE or --model NAME|FILE, or at least DATASETS.TRAIN"),
        ("evaluate DATASETS.TRAIN a", "give --config-file FILE or --model NAME|FILE, or at least DATASETS.TEST"),
        ("train --eval-only SEED 3", "give --config-file FILE or --model NAME|FILE, or at least DATASETS.TEST"),
        ("train SOLVER.BASE_LR", "keys and values come in pairs, but there are 1 words: SOLVER.BASE_LR"),
        ("train seed 3", "unrecognized arguments: seed 3"),
    ],
)
def test_usage(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert capsys.readouterr().err.splitlines()[-1] == f"egtr {words.split()[0]}: error: {message}"
    assert not list(tmp_path.iterdir())


def test_trains_from_the_weights_of_a_model(scenes, tmp_path, capsys):
    words = ["--model", "scenes", "--output", "run", "--opts", "SOLVER.MAX_ITER", "1", "SOLVER.BASE_LR", "1e-12"]
    words += ["SOLVER.IMS_PER_BATCH", "1", "DATALOADER.NUM_WORKERS", "0", "DATASETS.TEST", "()"]
    words += ["INPUT.MIN_SIZE_TRAIN", "64,", "MODEL.EGTR.FREEZE_DETECTOR", "True"]
    assert main(["train", *words]) == 0
    trained = load_checkpoint_file(str(tmp_path / "run/model_final.pth"))["model"]
    begun = load_checkpoint_file(get_weights_file("scenes_rtdetr.pth"))["model"]
    name = next(name for name in begun if name.startswith("backbone.") and name.endswith("weight"))
    assert (trained[name] == begun[name].float()).all()
