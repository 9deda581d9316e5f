"""Videos of graphs: as many frames, one size, colours and places that stay."""

import json
import resource
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from egtr.data import sources
from egtr.data.sources import ImageStream
from egtr.inference import export_video
from egtr.structures import EGTRError, SceneGraph, WriteError
from egtr.visualization import VideoDrawer
from egtr.visualization.draw import draw_sheet
from egtr.visualization.palette import object_colors
from tests.inference.predictors import FakePredictor
from tests.inference.videos import read_video, write_video

SIZE = (63, 85)
CLIPS = Path(__file__).parent / "clips"


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
    graph.classes, graph.scores = np.array([0, 2, 1]), np.array([0.9, 0.7, 0.8])
    graph.class_names = ("dog", "tree", "cat")
    graph.triplets, graph.triplet_scores = np.array([[0, 2, 0], [1, 2, 0]]), np.array([0.5, 0.4])
    after = drawer.draw(image, graph)
    for color in object_colors(2):
        assert np.abs(find(before, color) - find(after, color)).max() < 1.5
    find(after, object_colors(3)[2])


@pytest.fixture
def sheets(monkeypatch):
    """The names on each sheet that is drawn, and its note."""
    shown = []

    def draw(sheet, image, graph, names, colors, **look):
        shown.append((names, look["note"]))
        return draw_sheet(sheet, image, graph, names, colors, **look)

    monkeypatch.setattr("egtr.visualization.video.draw_sheet", draw)
    return shown


def test_numbers_begin_with_the_second_object_of_a_class(sheets):
    """A dog, then two dogs near the tree, then the first one again."""
    drawer, image, two = VideoDrawer(dpi=40), np.zeros((*SIZE, 3), np.uint8), make_graph()
    two.boxes = np.concatenate([two.boxes, two.boxes[:1] + (0, -25, 0, -25)])
    two.classes, two.scores, two.query_index = np.array([0, 1, 0]), np.array([0.9, 0.8, 0.7]), np.arange(3)
    for graph in (make_graph(), two, make_graph()):
        drawer.draw(image, graph)
    assert [names for names, _ in sheets] == [["dog", "tree"], ["dog 1", "tree", "dog 2"], ["dog 1", "tree"]]
    assert {note for _, note in sheets} == {None}


def test_a_frame_with_more_objects_than_a_sheet_holds(sheets):
    graph = make_graph()
    graph.boxes, graph.scores = np.tile(graph.boxes, (40, 1)), np.linspace(0.9, 0.1, 80)
    graph.classes, graph.query_index = np.tile(graph.classes, 40), np.arange(80)
    VideoDrawer(dpi=40).draw(np.zeros((*SIZE, 3), np.uint8), graph)
    ((names, note),) = sheets
    assert len(set(names)) == 60 and note.startswith("60 of 80 objects and 1 of 1 relations are drawn")


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
    """The part of OpenCV's VideoCapture that a camera needs; Ctrl-C is pressed after three frames."""

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
    read_file = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda of: Camera(of) if isinstance(of, int) else read_file(of))
    clock = iter([0.0, 0.0, 0.3, 0.5])  # the start, and three frames
    # Only there: threads of other tests' servers look at the clock of the process, too.
    monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    target = tmp_path / "camera.avi"
    drawn = export_video(FakePredictor(lambda image: make_graph()), 0, target, save_graphs=True, progress=False)
    assert drawn == 3
    monkeypatch.undo()
    # Ten frames a second: those at 0, 0.3 and 0.5 seconds are the 1st, the 4th and the 6th, and stay until the next.
    frames, rate = read_video(target)
    assert len(frames) == 6 and rate == pytest.approx(10)
    assert len(target.with_suffix(".jsonl").read_text().splitlines()) == 3


class PlainDrawer:
    """Draws nothing but the image, in the size of a thumbnail."""

    def __init__(self, show_scores):
        pass

    def draw(self, image, graph):
        return cv2.resize(image, (64, 48))


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr("egtr.inference.video.VideoDrawer", PlainDrawer)


@pytest.fixture
def predictor():
    return FakePredictor(lambda image: make_graph())


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
@pytest.mark.parametrize(
    ("clip", "count", "length", "rate", "frames"),
    [
        # Recorded by a browser: the file states 15.9 frames a second; 32 frames from 0 to 3.893 s are 31 / 3.893.
        ("browser.webm", 32, 3.893, 7.963, 32),
        # Ten frames every 33 ms, then ten every 500 ms; the file states 1000. round(4.83 * 30.303) + 1 frames.
        ("variable_rate.webm", 20, 4.83, 30.303, 147),
    ],
)
def test_a_copy_takes_as_long_as_the_video(predictor, tmp_path, caplog, suffix, clip, count, length, rate, frames):
    target = tmp_path / f"out{suffix}"
    assert export_video(predictor, str(CLIPS / clip), target, progress=False) == count
    pixels, found = read_video(target)
    assert (len(pixels), found) == (frames, pytest.approx(rate, abs=0.001))
    assert (len(pixels) - 1) / found == pytest.approx(length, abs=0.5 / rate)
    assert not caplog.records


@pytest.mark.usefixtures("plain")
def test_a_frame_stays_until_the_time_of_the_next_one(predictor, tmp_path):
    """The 10 quick frames are in the first third of a second, each of the slow ones is there for half a second."""
    export_video(predictor, str(CLIPS / "variable_rate.webm"), tmp_path / "out.avi", progress=False)
    pixels = read_video(tmp_path / "out.avi")[0].astype(int)
    changes = np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2, 3)) > 1
    # Half seconds from 0.33 s on: 10, 25.2, 40.3, 55.5, 70.6, 85.8, 100.9, 116.1, 131.2 and 146.4 of 1 / 30.3 s.
    assert np.flatnonzero(changes[11:]).tolist() == [n - 12 for n in (25, 40, 55, 71, 86, 101, 116, 131, 146)]


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("rate", [1, 300, 1000])
def test_very_slow_and_very_quick_videos(predictor, tmp_path, rate):
    write_video(tmp_path / "clip.avi", [np.full((48, 64, 3), 20 * k, np.uint8) for k in range(10)], rate=rate)
    export_video(predictor, str(tmp_path / "clip.avi"), tmp_path / "out.mp4", progress=False)
    frames, found = read_video(tmp_path / "out.mp4")
    assert len(frames) == 10 and found == pytest.approx(rate)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_full_disk(predictor, tmp_path, suffix):
    """A limit on the size of files stands in for it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    target = tmp_path / f"out{suffix}"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        with pytest.raises(WriteError, match=rf"out\{suffix}: (is not whole, \d+ of 32 frames|cannot be written)"):
            export_video(predictor, str(CLIPS / "browser.webm"), target, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not target.exists() or 0 < len(read_video(target)[0]) < 32


@pytest.mark.usefixtures("plain")
def test_graphs_that_cannot_be_written(predictor, tmp_path):
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(WriteError, match="out.jsonl: cannot be written"):
        export_video(predictor, str(CLIPS / "browser.webm"), tmp_path / "out.mp4", save_graphs=True, progress=False)


def test_only_a_stated_number_of_frames_is_missed(caplog):
    """WebM states none: OpenCV guesses 4831 frames from its length and the unit of its times."""
    clip = ImageStream(str(CLIPS / "variable_rate.webm"))
    assert clip.total is None and len(list(clip)) == 20 and not caplog.records


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
