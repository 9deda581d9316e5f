"""Where KEY VALUE pairs begin, what inputs are, older spellings, and the types of arguments."""

import argparse

import pytest
from detectron2.config import CfgNode

from egtr.checkpoint import export_weights
from egtr.cli import choices
from egtr.cli.parsing import get_inputs, score, split_pairs, whole_number
from egtr.config import get_egtr_cfg
from egtr.data.convert import SOURCES, WRITERS
from egtr.data.datasets import FORMATS
from egtr.data.sources import MEDIA_SUFFIXES
from egtr.evaluation import PROTOCOLS
from egtr.evaluation.conventions import TASKS
from egtr.evaluation.foreign_dumps import DUMPS
from egtr.inference.export import GRAPH_SUFFIXES, IMAGE_SUFFIXES
from egtr.inference.video import CODECS
from egtr.structures import EGTRError
from tests.cli.running import parse


def test_choices_are_those_of_the_library(tmp_path):
    assert [f".{name}" for name in choices.IMAGE_FORMATS] == list(IMAGE_SUFFIXES)
    assert [f".{name}" for name in choices.GRAPH_FORMATS] == list(GRAPH_SUFFIXES)
    assert [f".{name}" for name in choices.VIDEO_FORMATS] == list(CODECS)
    assert [f".{name}" for name in choices.MEDIA_FORMATS] == list(MEDIA_SUFFIXES)
    assert list(choices.DATASET_FORMATS) == sorted(FORMATS)
    assert set(choices.CONVERT_SOURCES) == set(SOURCES) and set(choices.CONVERT_TARGETS) == set(WRITERS)
    assert choices.PROTOCOLS == tuple(PROTOCOLS)
    assert choices.TASKS == TASKS
    assert choices.DUMPS == DUMPS
    for name in choices.WEIGHTS_FORMATS:
        assert export_weights({}, tmp_path / f"a.{name}") > 0
    with pytest.raises(EGTRError):
        export_weights({}, tmp_path / "a.onnx")


def test_sections_and_keys_are_those_of_configurations():
    cfg = get_egtr_cfg()
    assert set(choices.SECTIONS) == {key for key, value in cfg.items() if isinstance(value, CfgNode)}
    assert set(choices.TOP_KEYS) == set(cfg) - set(choices.SECTIONS)


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("demo a.jpg MODEL.DEVICE cpu", 2),
        ("demo a.jpg --output o MODEL.EGTR.NUM_QUERIES 9 SEED 3", 4),
        ("train SEED 3", 1),
        ("train --resume", 2),
        # Files of cameras, a pattern, and the value of an option.
        ("demo DSC_0001.JPG PHOTOS/*.JPG", 3),
        ("demo --output TEST.PNG a.jpg", 4),
        # A section that does not exist may be a file.
        ("demo MODLE.DEVICE cpu", 3),
    ],
)
def test_where_pairs_begin(words, number):
    words = words.split()
    assert split_pairs(words) == (words[:number], words[number:])


def test_a_key_may_follow_an_option_without_value():
    args = parse("demo a.jpg --show-scores MODEL.DEVICE cpu SEED 3".split())
    assert (args.inputs, args.opts) == (["a.jpg"], ["MODEL.DEVICE", "cpu", "SEED", "3"])
    # The value of an option may look like a key.
    args = parse("demo a.jpg --output MODEL.DEVICE SEED 3".split())
    assert (args.output, args.opts) == ("MODEL.DEVICE", ["SEED", "3"])


def test_pairs_after_opts_and_existing_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_pairs(["demo", "TEST.JPG"]) == (["demo"], ["TEST.JPG"])
    (tmp_path / "TEST.JPG").touch()
    assert split_pairs(["demo", "TEST.JPG"]) == (["demo", "TEST.JPG"], [])
    assert split_pairs(["demo", "a", "--opts", "x", "y"]) == (["demo", "a"], ["x", "y"])


@pytest.mark.parametrize(
    "words",
    [
        "demo a b --output o SEED 3",
        "demo --input a b --output o SEED 3",
        "demo --output o a b SEED 3",
        "demo a --output o b --opts SEED 3",
        "demo a --show-scores --output o --input b --opts SEED 3",
        "explain a b --output o SEED 3",
        "report --output o a b SEED 3",
    ],
)
def test_inputs_and_pairs_anywhere(words):
    args = parse(words.split())
    assert (get_inputs(args), args.output if isinstance(args.output, str) else str(args.output)) == (["a", "b"], "o")
    assert args.opts == ["SEED", "3"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", "--config-file f"),
        ("evaluate", "--model m"),
        ("serve", "--model m --port 0"),
        ("analyze model", "--size 3 4"),
        ("analyze relations", "--output o --image-id 3 4"),
    ],
)
def test_every_command_with_a_configuration_takes_pairs(command, arguments):
    args = parse([*command.split(), *arguments.split(), "MODEL.DEVICE", "cpu", "SEED", "3"])
    assert args.opts == ["MODEL.DEVICE", "cpu", "SEED", "3"]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("demo a --topk 3", "top_k", 3),
        ("explain a --output o --topk 3", "top_k", 3),
        ("report a --output o --topk 3", "top_k", 3),
        ("score p --topk 3 4", "top_k", [3, 4]),
        ("demo a --config-file f", "config_file", "f"),
        ("serve --config-file f --config-file g=w", "config_file", ["f", "g=w"]),
        ("analyze relations --output o --num-images 3", "limit", 3),
        ("data check --json f", "input", "f"),
        ("export --checkpoint f", "input", ["f"]),
        ("convert --artifact f --output o", "input", ["f"]),
    ],
)
def test_older_spellings(words, name, value, capsys):
    assert getattr(parse(words.split()), name) == value


@pytest.mark.parametrize(
    "words", ["demo --bogus a", "data convert --from egtr --to egtr --output o --bogus", "plot a -x"]
)
def test_unknown_arguments(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(words.split())
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"egtr {words.partition(' -')[0].removesuffix(' a')}: error: unrecognized arguments: -")


def test_types():
    assert (whole_number(0)("0"), whole_number(1)("7"), score("0"), score("1e-3")) == (0, 7, 0.0, 0.001)
    for convert, texts in ((whole_number(1), ("0", "-1", "1.5", "many")), (score, ("-0.1", "1.01", "nan", "low"))):
        for text in texts:
            with pytest.raises(argparse.ArgumentTypeError, match=text):
                convert(text)
