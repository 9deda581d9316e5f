"""docs/photos.md: its commands are understood, its models exist, and its first command draws a photograph."""

import json
import re
from pathlib import Path

import pytest

from egtr.config import load_config
from egtr.hub import read_catalogue
from egtr.hub.datasets import DATASETS
from tests.cli.running import parse
from tests.docs.commands import ROOT, commands, run_command
from tests.hub.conftest import archives, home, internet, photo, released  # noqa: F401 - fixtures

TEXT = (ROOT / "docs/photos.md").read_text("utf-8")
COMMANDS = commands(TEXT)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command, monkeypatch):
    """The words fit the command, the configuration is a file of this repository, and it has the keys."""
    monkeypatch.chdir(ROOT)
    args = parse(command.split()[1:])
    if getattr(args, "config_file", None):
        assert load_config(args.config_file, args.opts).MODEL.WEIGHTS


def test_models_and_datasets_exist():
    named = set(re.findall(r"egtr://models/(\w+)|--model (\w+)|models (?:get|info) (\w+)", TEXT))
    assert {name for names in named for name in names if name} <= set(read_catalogue())
    assert "vg150" in {names[1] for names in named}
    assert set(re.findall(r"egtr data get (\w+)", TEXT)) == {"indoorvg", "vg150"} < {each.name for each in DATASETS}


def test_the_first_command_draws_a_photograph(released, photo, monkeypatch):  # noqa: F811
    monkeypatch.setenv("EGTR_YES", "1")
    command = next(each for each in COMMANDS if each.startswith("egtr demo"))
    run_command(f"{command} MODEL.DEVICE cpu INPUT.MIN_SIZE_TEST 96")
    assert Path("output/graphs/photo.png").is_file()
    assert json.loads(Path("output/graphs/photo.json").read_text())["relations"]


def test_arithmetic_of_memory():
    """Megabytes of 4-byte numbers, as the table of the page has them."""
    places = sum(height * width for height, width in ((100, 167), (50, 84), (25, 42), (13, 21)))
    sizes = {"680": 42_510_356 * 16, "23": places * 256 * 4, "91": places * 1024 * 4, "41": 200 * 200 * 256 * 4}
    assert f"{places:,} places" in TEXT
    assert re.findall(r"\| (\d+) MB \|", TEXT) == list(sizes)
    assert [str(round(size / 1e6)) for size in sizes.values()] == list(sizes)


def test_arithmetic_of_hours():
    rows = re.findall(r"^\| `\S+` \| ([\d,]+) \| [\d,]+ x \d+ \| (\d+) \| (\d+) \|$", TEXT, re.M)
    assert len(rows) == 4
    for images, hours, shared in rows:
        one = int(images.replace(",", "")) * 0.1 / 3600
        assert (round(one), round(one / 8)) == (int(hours), int(shared))
