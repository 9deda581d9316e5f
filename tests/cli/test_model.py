"""`--model` and `--config-file` mean the same configuration and weights in every command."""

import pytest

from egtr.cli.checks import use_model
from egtr.cli.parsing import UsageError
from egtr.cli.serve import choose_models
from egtr.config.arguments import DEFAULT_MODEL
from egtr.hub.model_zoo import get_config_file
from egtr.structures import ConfigurationError
from tests.cli.running import parse

SHIPPED = get_config_file("scenes/rtdetr.yaml")
WEIGHTS = "egtr://weights/scenes_rtdetr.pth"
COMMANDS = ["demo", "explain --output o", "report --output o", "analyze model", "analyze relations --output o"]


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("SEED: 5\n")


def use(command, words):
    args = parse([*command.split(), *words.split()])
    use_model(args, DEFAULT_MODEL)
    return args.config_file, args.opts


@pytest.mark.parametrize("command", [*COMMANDS, "train", "evaluate"])
@pytest.mark.parametrize(
    ("words", "config_file", "opts"),
    [
        ("", "scenes", []),
        ("--model scenes", SHIPPED, []),
        ("--model mine.yaml SEED 3", "mine.yaml", ["SEED", "3"]),
        ("--config-file mine.yaml", "mine.yaml", []),
        ("--config-file scenes", SHIPPED, []),
        ("--model egtr://configs/scenes/egtr.yaml", "egtr://configs/scenes/egtr.yaml", []),
        # In any order; a later pair wins.
        ("--config-file mine.yaml --model scenes", "mine.yaml", ["MODEL.WEIGHTS", WEIGHTS]),
        (
            "--model scenes --config-file mine.yaml MODEL.WEIGHTS x.pth",
            "mine.yaml",
            ["MODEL.WEIGHTS", WEIGHTS, "MODEL.WEIGHTS", "x.pth"],
        ),
    ],
)
def test_rule(command, words, config_file, opts):
    assert use(command, words) == (config_file, opts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model nosuch", "nosuch: is neither .* name of a model. Models are: scenes, scenes_deformable"),
        ("--model scene", "scene: .* Did you mean scenes[?]"),
        ("--config-file mine.yml", "mine.yml: is neither a file nor"),
        ("--config-file mine.yml --model scenes", "mine.yml: is neither a file nor"),
        ("--config-file scenes --model mine.yaml", "--model mine.yaml: its MODEL.WEIGHTS is empty"),
    ],
)
def test_what_is_refused(words, message):
    with pytest.raises(ConfigurationError, match=message):
        use("demo", words)


@pytest.mark.parametrize(
    ("words", "models"),
    [
        ("", ["scenes"]),
        ("--model scenes --model mine.yaml=x.pth", ["scenes", "mine.yaml=x.pth"]),
        ("--config-file mine.yaml --config-file scenes=x.pth", ["mine.yaml", "scenes=x.pth"]),
        ("--config-file mine.yaml --model scenes", [f"mine.yaml={WEIGHTS}"]),
        ("--model scenes=x.pth --config-file mine.yaml --model scenes", ["mine.yaml=x.pth", f"mine.yaml={WEIGHTS}"]),
    ],
)
def test_models_that_are_served(words, models):
    assert choose_models(parse(["serve", *words.split()])) == models


@pytest.mark.parametrize("words", ["--config-file mine.yaml --config-file scenes", "--config-file mine.yaml=x.pth"])
def test_several_configurations_beside_a_model(words):
    with pytest.raises(UsageError, match="beside --model, give one --config-file, without weights"):
        choose_models(parse(["serve", "--model", "scenes", *words.split()]))
