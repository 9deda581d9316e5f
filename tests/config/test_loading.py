"""KEY VALUE pairs as a shell gives them, and names of models."""

import pytest

from egtr.config import find_config, load_config
from egtr.config.defaults import get_egtr_cfg
from egtr.hub.model_zoo import get_config_file
from egtr.structures import EGTRError


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("DATASETS.TEST", "scenes_test", ("scenes_test",)),
        ("DATASETS.TEST", "scenes_val,scenes_test", ("scenes_val", "scenes_test")),
        ("DATASETS.TRAIN", "my-data/2024", ("my-data/2024",)),
        # Python reads these as calculations with names, which they are not.
        ("DATASETS.TEST", "a-b", ("a-b",)),
        ("DATASETS.TEST", "None_of_them", ("None_of_them",)),
        ("TEST.SCENE_GRAPH.PROTOCOLS", "strict,reference", ["strict", "reference"]),
        ("MODEL.EGTR.CLASS_NAMES", "dog", ["dog"]),
        # Values that Python can read stay as they are.
        ("DATASETS.TEST", "('a', 'b')", ("a", "b")),
        ("DATASETS.TEST", "['a']", ("a",)),
        ("DATASETS.TEST", "()", ()),
        ("DATASETS.TEST", "'a','b'", ("a", "b")),
        ("DATASETS.TEST", ("a",), ("a",)),
        ("SOLVER.STEPS", "(1, 2)", (1, 2)),
        ("SOLVER.STEPS", "1,2", (1, 2)),
        ("OUTPUT_DIR", "a,b", "a,b"),
    ],
)
def test_words_for_lists(key, text, value):
    cfg = load_config(opts=[key, text])
    for part in key.split("."):
        cfg = cfg[part]
    assert cfg == value and type(cfg) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("SOLVER.STEPS", "soon", "Command line: SOLVER.STEPS soon: Type mismatch"),
        ("SOLVER.STEPS", "5", "Command line: SOLVER.STEPS 5: Type mismatch"),
        ("DATASETS.TEST", "('a'", r"Command line: DATASETS.TEST \('a': Type mismatch"),
        ("DATASETS.TEST", "a, b", "Command line: DATASETS.TEST a, b: Type mismatch"),
        ("DATASETS.TEST", "a,", "Command line: DATASETS.TEST a,: Type mismatch"),
        ("DATASETS.TEST", "5", "Command line: DATASETS.TEST 5: Type mismatch"),
        ("DATASETS.TEST", "", "Command line: DATASETS.TEST : Type mismatch"),
        ("DATASETS.TSET", "a", "Command line: there is no key DATASETS.TSET. Did you mean DATASETS.TEST"),
    ],
)
def test_real_errors_are_as_before(key, text, message):
    with pytest.raises(EGTRError, match=message):
        load_config(opts=[key, text])


def test_defaults_are_not_changed():
    load_config(opts=["DATASETS.TEST", "scenes_test", "TEST.SCENE_GRAPH.PROTOCOLS", "strict"])
    assert get_egtr_cfg().DATASETS.TEST == () and get_egtr_cfg().TEST.SCENE_GRAPH.PROTOCOLS == ["reference"]


def test_a_file_a_name_or_an_address(tmp_path):
    path = tmp_path / "mine.yaml"
    path.touch()
    assert find_config(str(path)) == str(path)
    assert find_config("egtr://configs/scenes/egtr.yaml") == "egtr://configs/scenes/egtr.yaml"
    assert find_config("scenes") == get_config_file("scenes/rtdetr.yaml")
    with pytest.raises(EGTRError, match="nowhere: is neither a file nor the name of a model"):
        find_config("nowhere")
