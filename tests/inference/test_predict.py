"""egtr.predict and the stream below it: any model, any source, one graph after the other."""

import io

import cv2
import numpy as np
import pytest
from detectron2.modeling import build_model
from PIL import Image

import egtr
from egtr.checkpoint import EGTRCheckpointer
from egtr.data.scenes import draw_scene
from egtr.data.sources import ImageStream
from egtr.inference import EGTRPredictor
from egtr.structures import EGTRError


@pytest.fixture
def predictor(make_cfg):
    return EGTRPredictor(make_cfg(), build_model(make_cfg()).eval())


@pytest.fixture
def folder(tmp_path):
    """Five images of noise in three sizes, the third one broken: 0.png to 4.png."""
    random = np.random.RandomState(0)
    for i, size in enumerate([(40, 60), (60, 40), (40, 60), (40, 60), (50, 50)]):
        Image.fromarray(random.randint(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_text("hello")
    return tmp_path


def names(graphs):
    return [graph.file_name.rpartition("/")[2] for graph in graphs]


def content(graph):
    return {**graph.to_dict(), "source": None}


def test_graphs_of_a_folder(predictor, folder):
    failed = []
    graphs = list(egtr.predict(predictor, folder, on_error=failed.append))
    assert names(graphs) == ["0.png", "1.png", "3.png", "4.png"]
    assert [str(error) for error in failed] == [f"{folder / '2.png'}: not an image in any format that Pillow reads"]
    for graph in graphs:
        assert content(graph) == content(predictor(graph.file_name))
        # The raw record of N * N pairs would fill the memory of a user who keeps many graphs.
        assert graph.prediction is None and predictor(graph.file_name).prediction is not None


def test_without_a_handler_the_error_is_raised_in_its_turn(predictor, folder):
    graphs = egtr.predict(predictor, folder)
    assert names([next(graphs), next(graphs)]) == ["0.png", "1.png"]
    with pytest.raises(EGTRError, match="2.png: not an image"):
        next(graphs)


@pytest.mark.parametrize(("batch_size", "threads"), [(2, 1), (3, 2), (8, 4)])
def test_batches_and_threads_change_nothing(predictor, folder, batch_size, threads):
    expected = list(predictor.predict(folder))
    results = list(predictor.predict(folder, batch_size=batch_size, threads=threads))
    assert [result.error is None for result in results] == [True, True, False, True, True]
    for result, wanted in zip(results, expected, strict=True):
        if wanted.error is not None:
            assert result.graph is None and result.image is None and str(result.error) == str(wanted.error)
            continue
        assert result.graph.file_name == wanted.graph.file_name
        assert np.array_equal(result.image, wanted.image)
        assert np.array_equal(result.image, np.asarray(Image.open(result.graph.file_name)))
        # a batch is added up in another order than one image
        np.testing.assert_allclose(result.graph.boxes, wanted.graph.boxes, atol=1e-3)
        np.testing.assert_allclose(result.graph.triplet_scores, wanted.graph.triplet_scores, rtol=1e-4)


def test_images_of_one_size_share_a_batch(predictor, folder):
    sizes = []
    predictor.model.register_forward_pre_hook(lambda module, args: sizes.append([x["height"] for x in args[0]]))
    assert len(list(predictor.predict(folder, batch_size=5))) == 5
    assert sizes == [[40, 40], [60], [50]]


def test_frames_know_their_place(predictor, tmp_path):
    path = str(tmp_path / "clip.avi")
    video = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for level in (0, 100, 200):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.release()
    images = ImageStream(path)
    graphs = [result.graph for result in predictor.predict(images, batch_size=2)]
    assert images.total == len(graphs) == 3
    assert [(graph.file_name, graph.frame) for graph in graphs] == [(path, 0), (path, 1), (path, 2)]
    assert [graph.time for graph in graphs] == pytest.approx([0, 0.1, 0.2])


def test_any_model(make_cfg, folder, tmp_path):
    cfg = make_cfg()
    model = build_model(cfg).eval()
    cfg.MODEL.WEIGHTS = EGTRCheckpointer(model, str(tmp_path)).save_weights("random")
    (tmp_path / "tiny.yaml").write_text(cfg.dump())
    expected = content(EGTRPredictor(cfg)(folder / "0.png"))
    assert expected["class_names"] is not None
    for stands_for_it in (cfg, tmp_path / "tiny.yaml", str(tmp_path / "tiny.yaml"), EGTRPredictor(cfg), model):
        (graph,) = egtr.predict(stands_for_it, folder / "0.png")
        assert content(graph) == expected


def test_a_model_in_training_stays_so_between_graphs(make_cfg, folder):
    model = build_model(make_cfg()).train()
    for _ in egtr.predict(model, [folder / "0.png", folder / "1.png"]):
        assert model.training


def test_the_shipped_model_has_a_name():
    assert egtr.hub.model_zoo.list_models() == ["scenes", "scenes_deformable"]
    file = io.BytesIO()
    Image.fromarray(draw_scene(0, "test", 0)[0]).save(file, "PNG")
    (graph,) = egtr.predict("scenes", file.getvalue())
    assert "house" in graph.class_names and graph.triplet_scores[0] > 0.3
    assert graph.query_index.tolist() == list(range(len(graph.boxes)))


@pytest.mark.parametrize(("model", "message"), [
    ("no-such-model", "no-such-model"),
    (3, "model: int is none. Give the name of a shipped model .scenes."),
    (None, "NoneType is none"),
])  # fmt: skip
def test_no_model(model, message):
    with pytest.raises(EGTRError, match=message):
        egtr.predict(model, "a.png")


def test_refused_before_anything_is_read(predictor):
    with pytest.raises(EGTRError, match="is a URL"):
        egtr.predict(predictor, "https://host/a.png")
    for option in ("batch_size", "threads"):
        with pytest.raises(EGTRError, match=f"{option} is 0"):
            egtr.predict(predictor, "a.png", **{option: 0})
