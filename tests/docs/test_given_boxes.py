"""docs/given_boxes.md: its Python prints what it says, and its command draws, with the files as the page has them."""

import json

import pytest
from PIL import Image

from egtr.data.scenes import draw_scene
from egtr.structures import SceneGraph
from tests.docs.commands import ROOT, code_blocks, commands, run_code, run_command

TEXT = (ROOT / "docs/given_boxes.md").read_text("utf-8")
ARRAY_CODE, YOLO_CODE, RESULTS_CODE = code_blocks(TEXT, "python")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the image and the files that the page speaks of."""
    images = tmp_path / "datasets/scenes/images"
    images.mkdir(parents=True)
    Image.fromarray(draw_scene(0, "test", 19)[0]).save(images / "test_00019.png")
    (tmp_path / "test_00019.txt").write_text(code_blocks(TEXT, "yolo")[0])
    (tmp_path / "boxes.json").write_text(code_blocks(TEXT, "json")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_graphs_that_are_printed(folder):
    printed = code_blocks(TEXT, "text")
    assert [run_code(code).split() for code in (ARRAY_CODE, YOLO_CODE)] == [block.split() for block in printed]


def test_results(folder):
    assert run_code(RESULTS_CODE) == "[0.9 0.8]"


def test_the_command(folder):
    (command,) = [command for command in commands(TEXT) if command.startswith("egtr demo")]
    run_command(command)
    graph = SceneGraph.from_dict(json.loads((folder / "output/given/test_00019.json").read_text()))
    assert graph.boxes.tolist() == [[37, 23, 168, 134], [58, 91, 83, 116], [141, 142, 215, 229]]
    assert [graph.class_name(index) for index in range(3)] == ["house", "window", "person"]
