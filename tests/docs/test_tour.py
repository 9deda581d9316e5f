"""docs/tour.md: its commands do what it says, and its images are there and small."""

import contextlib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from egtr.data.scenes import draw_scene
from tests.inference.videos import read_video

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/tour.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (python (?:.*\\\n)*.*)", TEXT, re.MULTILINE)
# Those have tests of their own, and need the whole dataset.
ELSEWHERE = ("tools/prepare_scenes.py", "tools/report.py")


# A graph in the terminal, and a video to begin with.
GRAPH_CODE, VIDEO_CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def run_code(code):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    return out.getvalue().strip()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with the image that the tour speaks of."""
    images = tmp_path / "datasets/scenes/images"
    images.mkdir(parents=True)
    Image.fromarray(draw_scene(0, "test", 19)[0]).save(images / "test_00019.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(clone, monkeypatch):
    tools = []
    # Three frames are enough here.
    run_code(VIDEO_CODE.replace("range(30)", "range(0, 30, 10)"))
    for command in COMMANDS:
        # What $(python -c '...') prints takes its place.
        command = re.sub(r"\$\(python -c '([^']*)'\)", lambda found: run_code(found[1]), command.replace("\\\n", " "))
        _, tool, *arguments = shlex.split(command)
        if tool in ELSEWHERE:
            assert (ROOT / tool).is_file()
            continue
        monkeypatch.setattr(sys, "argv", [str(ROOT / tool), *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / tool), run_name="__main__")
        assert not end.value.code, command
        tools.append(tool)
    assert sorted(tools) == ["tools/demo.py"] * 3 + ["tools/explain.py"]
    # Every file that the text says is written.
    for name in re.findall(r"`(output/tour/[\w.]+)`", TEXT):
        assert (clone / name).is_file() or name.endswith(".html"), name
    assert {"test_00019.graphml", "clip.jsonl"} < {path.name for path in (clone / "output/tour").iterdir()}


def test_python(clone):
    """The first block of Python prints the block of text, the other one writes a video of three seconds."""
    (printed,) = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    assert run_code(GRAPH_CODE).split() == printed.split()
    assert run_code(VIDEO_CODE) == ""
    frames, rate = read_video(clone / "clip.mp4")
    assert frames.shape == (30, 216, 180, 3) and rate == 10


def test_links_and_images():
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / link).exists(), link
    images = re.findall(r"\((images/[^)]+)\)", TEXT)
    assert len(images) == 4
    for image in images:
        assert (ROOT / "docs" / image).stat().st_size < 150_000
