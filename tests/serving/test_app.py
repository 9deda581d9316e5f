"""Answers and messages of a server when something is slow, broken or missing."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import httpx
import pytest

from egtr.cli import main
from egtr.serving import Limits, ModelStore, Worker, create_app
from egtr.structures import EGTRError, PredictedImage, Prediction, SceneGraph
from tests.serving.conftest import ROOT
from tests.serving.images import encode, noise

PNG = encode(noise(20, 30), "PNG")
GRAPH = "/api/v1/scene-graph"


def store_of(predict):
    """A store of one predictor, which has nothing but a method ``predict``."""
    return ModelStore({"mine": SimpleNamespace(predict=predict)})


def ask(store, limits, *requests):
    """The answers to (method, path, content) of an application in this process."""

    async def run():
        worker = Worker(limits)
        transport = httpx.ASGITransport(create_app(store, worker), raise_app_exceptions=False)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return [await client.request(method, path, content=content) for method, path, content in requests]
        finally:
            worker.close()

    return asyncio.run(run())


def test_too_slow_an_answer():
    def predict(image, channel_order):
        time.sleep(0.5)

    (answer,) = ask(store_of(predict), Limits(timeout=0.05), ("POST", GRAPH, PNG))
    assert answer.status_code == 504 and "no answer within 0.05 s" in answer.json()["detail"]


def test_too_slow_an_upload():
    async def stream():
        yield PNG[:10]
        await asyncio.sleep(60)

    (answer,) = ask(store_of(None), Limits(timeout=0.05), ("POST", GRAPH, stream()))
    assert answer.status_code == 408 and "longer than 0.05 s" in answer.json()["detail"]


def test_what_fails_inside():
    def predict(image, channel_order):
        raise EGTRError("the model has no relation part")

    def break_down(image, channel_order):
        raise ZeroDivisionError

    (answer,) = ask(store_of(predict), Limits(), ("POST", GRAPH, PNG))
    assert (answer.status_code, answer.json()) == (500, {"detail": "the model has no relation part"})
    (answer,) = ask(store_of(break_down), Limits(), ("POST", GRAPH, PNG))
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])


def test_a_predictor_of_another_kind_has_no_explanations():
    logits = [[5.0, -5.0], [-5.0, 5.0]]
    boxes = [[0, 0, 10, 10], [15, 5, 30, 20]]
    prediction = Prediction(logits, boxes, [[0, 1]], [1.0], [[0.9]], (20, 30))

    def predict(image, channel_order):
        assert image.shape == (20, 30, 3) and channel_order == "RGB"
        return [PredictedImage(image, SceneGraph.from_prediction(prediction, ("dog", "hat"), ("wears",)))]

    store = store_of(predict)
    assert (store.names, store.state("mine")) == (("mine",), "ready")
    unrelated = [f"{GRAPH}?top_k=0{more}" for more in ("", "&single_objects=false")]
    answers = ask(store, Limits(), *(("POST", address, PNG) for address in unrelated))
    # Both logits are of an object that is surely there.
    assert [len(answer.json()["objects"]) for answer in answers] == [2, 0]
    graph, explained = ask(store, Limits(), ("POST", GRAPH, PNG), ("POST", "/api/v1/explanations", PNG))
    (relation,) = graph.json()["relations"]
    assert relation["predicate"] == "wears"
    assert explained.status_code == 200
    assert explained.json()["graph"] == graph.json() and explained.json()["explanations"] is None


def test_other_predictors_are_served_without_torch_and_detectron2():
    code = """
import sys
from types import SimpleNamespace
import numpy as np
from egtr.serving import Limits, ModelStore, Worker, answers, create_app
from egtr.serving.schema import Selection
from egtr.structures import PredictedImage, Prediction, SceneGraph
prediction = Prediction([[5.0, -5.0]], [[0, 0, 9, 9]], np.zeros((0, 2)), [], np.zeros((0, 1)), (20, 30))
graph = SceneGraph.from_prediction(prediction)
predictor = SimpleNamespace(predict=lambda image, order: [PredictedImage(image, graph)])
store, worker = ModelStore({"mine": predictor}), Worker(Limits())
create_app(store, worker)
image = np.zeros((20, 30, 3), np.uint8)
answer = answers.explained_graph(store.load("mine"), image, None, Selection())
print(answer["explanations"], {"torch", "detectron2"} & set(sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "None set()\n"), done.stderr


def test_health_before_and_after_loading(tmp_path):
    store = ModelStore(["scenes", f"scenes={tmp_path / 'gone.pth'}"])
    assert store.names == ("scenes", "gone")
    (answer,) = ask(store, Limits(), ("GET", "/health", None))
    assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
    missing, models = ask(store, Limits(), ("POST", f"{GRAPH}?model=gone", PNG), ("GET", "/api/v1/models", None))
    assert missing.status_code == 500 and "gone.pth" in missing.json()["detail"]
    assert models.json()["models"][1] == {
        "name": "gone",
        "state": "failed",
        "remembers": None,
        "classes": None,
        "predicates": None,
    }


def test_names_of_models():
    assert ModelStore(["scenes", "scenes", "scenes/rtdetr_demo.yaml"]).names == ("scenes", "scenes 2", "rtdetr_demo")
    with pytest.raises(EGTRError, match="name at least one"):
        ModelStore([])
    with pytest.raises(EGTRError, match="nowhere.yaml"):
        ModelStore(["scenes", "nowhere.yaml"])


def test_limits_have_to_be_above_zero():
    with pytest.raises(EGTRError, match="max_pixels is 0"):
        Limits(max_pixels=0)


def test_a_taken_port(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert (
        f"egtr serve: error: 127.0.0.1, port {port}: " in error and "take another port, 0 for any free one" in error
    )


def test_weights_that_are_missing_end_the_server(capsys, tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    model = f"scenes={tmp_path / 'gone.pth'}"
    assert main(["serve", "--host", "localhost", "--port", "0", "--model", model]) == 1
    assert "gone.pth" in capsys.readouterr().err
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("missing", [["fastapi"], ["uvicorn", "python-multipart"]])
def test_what_to_install(monkeypatch, missing):
    names = [name for name in sys.modules if name.startswith("egtr.serving")]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.replace("_", "-") in missing else True)
    with pytest.raises(EGTRError, match=f"needs {', '.join(missing)}: pip install {' '.join(missing)}$"):
        __import__("egtr.serving")


def examples(language):
    text = (ROOT / "docs/serving.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_examples_of_the_document(server, tmp_path):
    """They run as they stand there, but on the port of this server."""
    (tmp_path / "photo.jpg").write_bytes(encode(noise(320, 240), "JPEG"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    (shell,), (code,) = examples("bash"), examples("python")
    for command, text in ((["bash", "-euc"], shell), ([sys.executable, "-c"], code)):
        assert "http://127.0.0.1:8000/" in text
        text = text.replace("http://127.0.0.1:8000/", server.address)
        subprocess.run([*command, text], cwd=tmp_path, env=environment, check=True, capture_output=True)
    # The last example that writes it gives two boxes.
    assert [entry["given"] for entry in json.loads((tmp_path / "graph.json").read_text("utf-8"))["objects"]] == [
        True
    ] * 2
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
