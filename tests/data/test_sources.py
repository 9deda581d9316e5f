"""Sources of images: their kinds, their order, and the errors of images that cannot be read."""

import io
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from egtr.data import sources
from egtr.data.sources import ImageStream, read_ahead
from egtr.structures import EGTRError

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path):
    """a.png (red, 6 wide and 4 high), b.png (blue), notes.txt."""
    for name, color in (("a.png", RED), ("b.png", BLUE)):
        Image.new("RGB", (6, 4), color).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def write_video(path, num_frames=5):
    """Frame i is gray of level 40 * i (modulo 256); 10 frames a second."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert video.isOpened()
    for level in range(num_frames):
        video.write(np.full((48, 64, 3), 40 * level % 256, np.uint8))
    video.release()
    return path


def read(source, channel_order=None):
    """First pixel of each image, or the message of its error."""
    found = []
    for image in ImageStream(source, channel_order):
        try:
            found.append(tuple(image.read()[0, 0].tolist()))
        except EGTRError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("make", [
    lambda path: str(path),
    lambda path: path,
    lambda path: path.read_bytes(),
    lambda path: bytearray(path.read_bytes()),
    lambda path: memoryview(path.read_bytes()),
    lambda path: io.BytesIO(path.read_bytes()),
    lambda path: Image.open(path),
    lambda path: [path],
    lambda path: (str(path),),
    lambda path: iter([path]),
])  # fmt: skip
def test_a_image_in_any_form(folder, make):
    assert read(make(folder / "a.png")) == [RED]


def test_pixels_need_their_order():
    pixels = np.full((4, 6, 3), RED, np.uint8)
    assert read(pixels, "RGB") == [RED] and read(pixels, "BGR") == [BLUE]
    assert read(torch.from_numpy(pixels.transpose(2, 0, 1).copy()), "RGB") == [RED]
    assert read(pixels[:, :, 0]) == [(255, 255, 255)]
    (message,) = read(pixels)
    assert "channel_order is None; say 'RGB'" in message


def test_folders_and_patterns(folder):
    assert read(folder) == read(str(folder / "*.png")) == [RED, BLUE]
    assert ImageStream(folder).total == 2
    names = [Path(image.file_name).name for image in ImageStream([folder / "b.png", folder])]
    # a list is what its parts are: nothing is left out of it
    assert names == ["b.png", "a.png", "b.png"]
    assert read([np.zeros((4, 6), np.uint8), folder / "b.png"], "RGB") == [(0, 0, 0), BLUE]


def test_where_images_come_from(folder):
    (image,) = ImageStream(str(folder / "a.png"))
    assert (image.file_name, image.frame, image.time) == (str(folder / "a.png"), None, None)
    with open(folder / "a.png", "rb") as file:
        assert [image.file_name for image in ImageStream(file)] == [str(folder / "a.png")]
    assert [image.file_name for image in ImageStream((folder / "a.png").read_bytes())] == [None]


def test_frames_of_a_video(folder):
    path = str(write_video(folder / "CLIP.AVI"))
    images = ImageStream([folder / "a.png", path])
    assert images.total == 6
    _, *frames = images
    assert [(frame.file_name, frame.frame) for frame in frames] == [(path, i) for i in range(5)]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    # read after all of them were decoded, so none is kept in the decoder's own memory; JPEG is not exact
    levels = [frame.read().mean() for frame in frames]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160], atol=6)


def test_colours_of_a_video(tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    video.write(np.full((48, 64, 3), RED[::-1], np.uint8))
    video.release()
    ((red, green, blue),) = read(tmp_path / "red.avi")
    assert red > 240 and green < 15 and blue < 15


def test_videos_that_cannot_be_read(folder):
    (folder / "text.mp4").write_text("no video")
    messages = read([folder / "text.mp4", folder / "none.mp4", folder / "a.png"])
    assert "text.mp4: no frame can be read" in messages[0] and "none.mp4: there is no such file" in messages[1]
    assert messages[2] == RED


def test_a_video_that_ends_early_is_named(folder, monkeypatch, caplog):
    class Cut:
        """Announces twenty frames and has as many as its suffix says."""

        def __init__(self, path):
            self.left = 17 if path.endswith(".avi") else 18

        def get(self, key):
            return 20 if key == cv2.CAP_PROP_FRAME_COUNT else 0

        def read(self):
            self.left -= 1
            return self.left >= 0, np.zeros((4, 6, 3), np.uint8)

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Cut)
    for name, number in (("cut.avi", 17), ("near.mov", 18)):
        (folder / name).touch()
        assert len(list(ImageStream(folder / name))) == number
    (message,) = caplog.messages
    assert "cut.avi: ended after 17 of about 20 frames" in message


class Camera:
    """Three frames, and it has to be given back."""

    released = 0

    def __init__(self, index):
        self.index, self.left = index, 3

    def read(self):
        self.left -= 1
        return (
            (True, np.full((4, 6, 3), RED[::-1], np.uint8)) if self.left >= 0 and self.index == 1 else (False, None)
        )

    def release(self):
        Camera.released += 1


def test_camera(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "released", 0)
    assert ImageStream(1).total is None
    frames = list(ImageStream(1))
    assert [(frame.file_name, frame.frame) for frame in frames] == [(None, 0), (None, 1), (None, 2)]
    assert 0 <= frames[0].time <= frames[2].time < 60
    assert tuple(frames[0].read()[0, 0].tolist()) == RED
    assert read(np.int64(2)) == ["camera 2: no frame can be read; is it there, and free?"]
    assert Camera.released == 2
    # Stopping early frees the camera too.
    stream = iter(ImageStream(1))
    next(stream)
    stream.close()
    assert Camera.released == 3


@pytest.mark.parametrize(("source", "message"), [
    ("https://host/a.png", "https://host/a.png: is a URL, and nothing is fetched"),
    (["a.png", "file:///a.png"], "is a URL"),
    ({"a.png": 1}, "dict holds no image"),
    (None, "NoneType holds no image"),
    (True, "bool holds no image"),
    ([3.5], "float holds no image"),
    ([[0, 255], [255, 0]], "list inside a list"),
    ("none*.png", "no image there"),
    # OpenCV would end the process
    (-1, "camera -1: cameras are counted from 0"),
    ([-2], "camera -2: cameras are counted from 0"),
])  # fmt: skip
def test_refused_at_once(source, message):
    with pytest.raises(EGTRError, match=message):
        ImageStream(source)


def test_an_iterator_is_asked_one_by_one(folder):
    asked = []

    def generate():
        for part in (folder / "a.png", "https://host/a.png", b"no image", [folder], folder / "none.png", folder):
            asked.append(part)
            yield part

    images = ImageStream(generate())
    assert images.total is None and not asked
    stream = iter(images)
    next(stream)
    assert len(asked) == 1
    messages = []
    for _ in range(4):
        with pytest.raises(EGTRError) as caught:
            next(stream).read()
        messages.append(str(caught.value))
    assert messages[0].startswith("source 1: https://host/a.png: is a URL")
    assert messages[1].startswith("source 2: image: not an image")
    assert messages[2].startswith("source 3: list inside a list")
    # a file's name says where
    assert messages[3] == f"{folder / 'none.png'}: there is no such file"
    assert [tuple(image.read()[0, 0].tolist()) for image in stream] == [RED, BLUE]


def test_read_ahead_keeps_order_and_distance():
    first_may_end = threading.Event()
    taken = []

    def items():
        for item in range(8):
            taken.append(item)
            yield item

    def work(item):
        if item == 0:
            assert first_may_end.wait(timeout=30)
        elif item == 2:
            # done before the first one is
            first_may_end.set()
        return item * 10

    results = read_ahead(work, items(), threads=2, depth=3)
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    assert list(results) == [10, 20, 30, 40, 50, 60, 70]


def test_read_ahead_stops_with_its_reader():
    before = threading.active_count()
    results = read_ahead(str, range(1000), threads=2, depth=4)
    assert next(results) == "0"
    results.close()
    assert threading.active_count() == before
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda item: 1 / item, [1, 0], threads=1, depth=1))
