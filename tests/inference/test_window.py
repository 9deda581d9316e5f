"""Windows, with OpenCV's three functions for them replaced: machines that run tests have no screen."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from egtr.inference import show_scene_graphs
from egtr.structures import EGTRError, SceneGraph
from tests.inference.predictors import FakePredictor
from tests.inference.videos import write_video


@pytest.fixture
def screen(monkeypatch):
    """Record what is shown as (pixels, wait), one after the other; ``keys`` are the keys that the user presses."""

    class Screen:
        shown, keys, closed = [], [], False

    def wait(delay):
        screen.shown[-1] = (screen.shown[-1], delay)
        return screen.keys.pop(0) if screen.keys else -1

    screen = Screen()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, pixels: screen.shown.append(pixels))
    monkeypatch.setattr(cv2, "waitKey", wait)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(screen, "closed", True))
    return screen


def stream(source):
    def predict(image):
        box = np.array([[1, 1, 8, 8]], dtype=np.float32)
        return SceneGraph(box, [0], [0.9], [], np.zeros(0), image.shape[:2])

    return FakePredictor(predict).predict(source)


def select(graph):
    return graph.for_display(min_object_score=0.5)


def test_images_wait_for_a_key(screen, tmp_path):
    for k in range(4):
        Image.new("RGB", (20, 16), (255, 0, 0)).save(tmp_path / f"{k}.png")
    (tmp_path / "1.png").write_text("hello")
    screen.keys = [ord(" "), ord("q")]
    errors = show_scene_graphs(stream(tmp_path), select=select)
    # 0, then 2 behind the broken one; q ends before 3
    assert [delay for _, delay in screen.shown] == [0, 0] and screen.closed
    assert len(errors) == 1 and "1.png: not an image" in str(errors[0])
    # OpenCV wants BGR: red comes last
    assert (screen.shown[0][0] == (0, 0, 255)).all(axis=2).sum() > 1000


def test_frames_follow_one_another(screen, tmp_path):
    write_video(tmp_path / "clip.avi", [np.zeros((33, 41, 3), np.uint8)] * 3)
    assert show_scene_graphs(stream(tmp_path / "clip.avi"), select=select) == []
    assert [delay for _, delay in screen.shown] == [1, 1, 1]


def test_no_screen(monkeypatch, tmp_path):
    Image.new("RGB", (20, 16)).save(tmp_path / "a.png")

    def imshow(title, pixels):
        raise cv2.error("no display")

    monkeypatch.setattr(cv2, "imshow", imshow)
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(EGTRError, match="no window.*no display.*--output"):
        show_scene_graphs(stream(tmp_path), select=select)


def test_no_screen_on_linux(monkeypatch, tmp_path):
    """Nothing of OpenCV's is called then: its windows would end the process."""
    Image.new("RGB", (20, 16)).save(tmp_path / "a.png")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "imshow", lambda title, pixels: pytest.fail("a window was opened"))
    with pytest.raises(EGTRError, match="no screen.*DISPLAY.*--output"):
        show_scene_graphs(stream(tmp_path), select=select)


def test_ctrl_c_ends_the_show(screen, monkeypatch, tmp_path):
    def interrupted(delay):
        raise KeyboardInterrupt

    Image.new("RGB", (20, 16)).save(tmp_path / "a.png")
    monkeypatch.setattr(cv2, "waitKey", interrupted)
    assert show_scene_graphs(stream(tmp_path), select=select) == [] and len(screen.shown) == 1
