"""docs/tour.md: its commands do what it says, and its images are there and small."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from egtr.cli import main
from egtr.data.scenes import draw_scene
from tests.cli.documents import find_commands
from tests.inference.videos import read_video

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/tour.md").read_text("utf-8")
# These have tests of their own, and need the whole dataset.
ELSEWHERE = ("data", "report")


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


def test_commands(clone):
    names = []
    # Three frames are enough here.
    run_code(VIDEO_CODE.replace("range(30)", "range(0, 30, 10)"))
    # The output of $(python -c '...') takes its place.
    for command in find_commands(re.sub(r"\$\(python -c '([^']*)'\)", lambda found: run_code(found[1]), TEXT)):
        if command[0] not in ELSEWHERE:
            assert main(command) == 0, command
            names.append(command[0])
    assert sorted(names) == ["demo"] * 3 + ["explain"]
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
