"""docs/extend.md: what its examples describe trains, and the rooms are those of the library."""

import re
import shlex
import tomllib

import pytest

import egtr.config
from egtr.engine import train_or_evaluate
from tests.cli.running import parse
from tests.docs.commands import ROOT, code_blocks, commands

TEXT = (ROOT / "docs/extend.md").read_text("utf-8")


def train(options, *words):
    """Train the tiny model, changed by the words of an example."""
    args = parse(["train", *(str(word) for pair in options.items() for word in pair), *words])
    return train_or_evaluate(args)


@pytest.fixture
def options(tiny_options, tmp_path):
    return {**tiny_options, "OUTPUT_DIR": str(tmp_path / "run")}


def write_example(number, path):
    path.write_text(code_blocks(TEXT, "python")[number])
    return str(path)


def words_of(name):
    """The keys and values of the command of the page that mentions ``name``."""
    (command,) = (command for command in commands(TEXT) if name in command)
    return parse(shlex.split(command)[1:]).opts


def test_every_block_of_code_is_tried():
    assert len(code_blocks(TEXT, "python")) == 2 and len(commands(TEXT)) == 4


def test_the_relation_head_trains(tmp_path, options):
    egtr.config.import_extensions([write_example(0, tmp_path / "my_head.py")])
    assert "sgdet" in train(options, *words_of("my_head.py"))


def test_the_detector_trains(tmp_path, options):
    egtr.config.import_extensions([write_example(1, tmp_path / "my_detector.py")])
    assert "sgdet" in train(options, *words_of("my_detector.py"))


@pytest.mark.parametrize("name", ["swin_tiny", "build_resnet_fpn_backbone"])
def test_the_backbones_train(name, options):
    words = words_of(name)
    # No weights are fetched.
    words = [*words, "MODEL.EGTR.BACKBONE.PRETRAINED", "False", "MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS", "4"]
    # Large enough for a coarsest map of several cells.
    sizes = {"INPUT.MIN_SIZE_TEST": 96, "INPUT.MAX_SIZE_TEST": 128}
    assert "sgdet" in train(options | sizes | {"SOLVER.MAX_ITER": 1}, *words)


def test_rooms_stand_in_the_order_of_the_contract():
    (layers,) = (
        contract["layers"]
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract.get("containers") == ["egtr"]
    )
    there = [room for room in layers if not room.startswith("(")]
    assert re.findall(r"^\| `egtr/(\w+)` \|", TEXT, re.MULTILINE) == there
