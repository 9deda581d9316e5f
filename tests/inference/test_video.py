"""Videos of graphs: as many frames, one size, colours and places that stay."""

import json

import cv2
import numpy as np
import pytest

from egtr.data import sources
from egtr.inference import export_video
from egtr.structures import EGTRError, SceneGraph
from egtr.visualization import VideoDrawer
from egtr.visualization.palette import object_colors
from tests.inference.predictors import FakePredictor
from tests.inference.videos import read_video, write_video

SIZE = (63, 85)


def make_graph(shift=0, swapped=False, size=SIZE):
    """A dog that moves to the right, near a tree that does not; ``swapped``: in the other order."""
    boxes = np.array([[5 + shift, 30, 25 + shift, 50], [40, 5, 80, 60]], dtype=np.float32)
    order = [1, 0] if swapped else [0, 1]
    return SceneGraph(
        boxes=boxes[order],
        classes=np.array([0, 1])[order],
        scores=np.array([0.9, 0.8])[order],
        triplets=np.array([[order.index(0), order.index(1), 0]]),
        triplet_scores=np.array([0.5]),
        image_size=size,
        class_names=("dog", "tree"),
        predicate_names=("near",),
    )


def find(pixels, color):
    """Mean (row, column) of the pixels of a colour, in the right half, where the graph is."""
    half = pixels.shape[1] // 2
    rows, columns = np.nonzero((np.abs(pixels[:, half:] - np.asarray(color) * 255) < 2).all(axis=2))
    assert len(rows) > 50
    return np.array([rows.mean(), columns.mean() + half])


def test_colours_and_places_stay():
    """Whatever the order of the objects, and where they go."""
    drawer = VideoDrawer()
    image = np.zeros((*SIZE, 3), np.uint8)
    frames = [drawer.draw(image, make_graph(3 * step, swapped=step % 2 == 1)) for step in range(2)]
    frames.append(drawer.draw(image, make_graph(6).filter(min_score=1)))  # nothing is found once
    frames.append(drawer.draw(image, make_graph(6)))
    assert len({frame.shape for frame in frames}) == 1
    assert frames[0].shape[0] % 2 == 0 and frames[0].shape[1] % 2 == 0
    for color in object_colors(2):
        first, *others = [find(frame, color) for frame in (*frames[:2], frames[3])]
        for place in others:
            assert np.abs(place - first).max() < 1.5
    # The image's half does change: the dog moves.
    assert (frames[0] != frames[1]).any()


def test_a_new_object_leaves_the_others_in_place():
    drawer, image = VideoDrawer(), np.zeros((*SIZE, 3), np.uint8)
    before = drawer.draw(image, make_graph())
    graph = make_graph()
    graph.boxes = np.concatenate([graph.boxes[:1], graph.boxes[:1] + (0, -25, 0, -25), graph.boxes[1:]])
    graph.classes, graph.scores = np.array([0, 0, 1]), np.array([0.9, 0.7, 0.8])
    graph.triplets, graph.triplet_scores = np.array([[0, 2, 0], [1, 2, 0]]), np.array([0.5, 0.4])
    after = drawer.draw(image, graph)
    for color in object_colors(2):
        assert np.abs(find(before, color) - find(after, color)).max() < 1.5
    find(after, object_colors(3)[2])


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_file(tmp_path, suffix):
    """Odd sides, three frames, a rate of its own."""
    source, target = tmp_path / "clip.avi", tmp_path / "new" / f"clip{suffix}"
    write_video(source, [np.full((*SIZE, 3), 60 + 60 * k, np.uint8) for k in range(3)], rate=7)
    predictor = FakePredictor(lambda image: make_graph(int(image[0, 0, 0]) // 30))
    assert export_video(predictor, str(source), target, save_graphs=True, progress=False) == 3
    frames, rate = read_video(target)
    assert len(frames) == 3 and rate == pytest.approx(7)
    assert abs(frames.shape[2] - 1280) <= 2  # 13.33 inches at 96 dpi
    lines = [json.loads(line) for line in target.with_suffix(".jsonl").read_text("utf-8").splitlines()]
    assert [line["source"]["frame"] for line in lines] == [0, 1, 2]
    assert SceneGraph.from_dict(lines[2]).class_name(0) == "dog"


def test_one_frame(tmp_path):
    write_video(tmp_path / "clip.avi", [np.zeros((33, 41, 3), np.uint8)])
    predictor = FakePredictor(lambda image: make_graph(size=image.shape[:2]).filter(min_score=1))
    assert export_video(predictor, str(tmp_path / "clip.avi"), tmp_path / "out.mp4", progress=False) == 1
    assert len(read_video(tmp_path / "out.mp4")[0]) == 1
    assert not list(tmp_path.glob("*.jsonl"))


class Camera:
    """Of OpenCV's VideoCapture what a camera needs; Ctrl-C is pressed after three frames."""

    def __init__(self, index):
        self.frames = 0

    def get(self, key):
        return 0

    def read(self):
        self.frames += 1
        if self.frames > 3:
            raise KeyboardInterrupt
        return True, np.zeros((*SIZE, 3), np.uint8)

    def release(self):
        pass


def test_camera_is_recorded_at_its_own_pace(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    clock = iter([0.0, 0.0, 0.3, 0.5])  # the start, and three frames
    monkeypatch.setattr(sources.time, "monotonic", lambda: next(clock))
    target = tmp_path / "camera.avi"
    drawn = export_video(FakePredictor(lambda image: make_graph()), 0, target, save_graphs=True, progress=False)
    assert drawn == 3
    monkeypatch.undo()
    # Ten frames a second: those at 0, 0.3 and 0.5 seconds fill up to the 1st, 4th and 6th.
    frames, rate = read_video(target)
    assert len(frames) == 6 and rate == pytest.approx(10)
    assert len(target.with_suffix(".jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("clip.avi", "out.gif", r"out.gif.*\.mp4, \.webm, \.avi"),
        ("clip.avi", "clip.avi", "is the video to read"),
        ("none.avi", "out.mp4", "none.avi: there is no such file"),
        ("text.mp4", "out.mp4", "text.mp4: no frame can be read"),
    ],
)
def test_errors(tmp_path, source, target, message):
    write_video(tmp_path / "clip.avi", [np.zeros((33, 41, 3), np.uint8)])
    (tmp_path / "text.mp4").write_text("hello")
    before = (tmp_path / "clip.avi").read_bytes()
    with pytest.raises(EGTRError, match=message):
        export_video(FakePredictor(None), str(tmp_path / source), tmp_path / target, progress=False)
    assert (tmp_path / "clip.avi").read_bytes() == before and len(list(tmp_path.iterdir())) == 2
