"""What a running server shows only when something is slow, broken or missing."""

import asyncio
import re
import runpy
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from egtr.serving import Limits, ModelStore, Worker, create_app
from egtr.structures import EGTRError
from tests.serving.conftest import ENVIRONMENT, ROOT
from tests.serving.images import encode, noise

PNG = encode(noise(20, 30), "PNG")
GRAPH = "/api/v1/scene-graph"


class Store(ModelStore):
    """Loads nothing; ``predict`` takes the predictor's place."""

    def __init__(self, predict):
        super().__init__(["scenes"])
        self.predict = predict

    def load(self, name):
        return self.predict


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

    (answer,) = ask(Store(predict), Limits(timeout=0.05), ("POST", GRAPH, PNG))
    assert answer.status_code == 504 and "no answer within 0.05 s" in answer.json()["detail"]


def test_too_slow_an_upload():
    async def stream():
        yield PNG[:10]
        await asyncio.sleep(60)

    (answer,) = ask(Store(None), Limits(timeout=0.05), ("POST", GRAPH, stream()))
    assert answer.status_code == 408 and "longer than 0.05 s" in answer.json()["detail"]


def test_what_fails_inside():
    def predict(image, channel_order):
        raise EGTRError("the model has no relation part")

    def break_down(image, channel_order):
        raise ZeroDivisionError

    (answer,) = ask(Store(predict), Limits(), ("POST", GRAPH, PNG))
    assert (answer.status_code, answer.json()) == (500, {"detail": "the model has no relation part"})
    (answer,) = ask(Store(break_down), Limits(), ("POST", GRAPH, PNG))
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])


def test_health_before_and_after_loading(tmp_path):
    store = ModelStore(["scenes", f"scenes={tmp_path / 'gone.pth'}"])
    assert store.names == ("scenes", "gone")
    (answer,) = ask(store, Limits(), ("GET", "/health", None))
    assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
    missing, models = ask(store, Limits(), ("POST", f"{GRAPH}?model=gone", PNG), ("GET", "/api/v1/models", None))
    assert missing.status_code == 500 and "gone.pth" in missing.json()["detail"]
    assert models.json()["models"][1] == {"name": "gone", "state": "failed"}


def test_names_of_models():
    assert ModelStore(["scenes", "scenes", "scenes/egtr_demo.yaml"]).names == ("scenes", "scenes 2", "egtr_demo")
    with pytest.raises(EGTRError, match="name at least one"):
        ModelStore([])
    with pytest.raises(EGTRError, match="nowhere.yaml"):
        ModelStore(["scenes", "nowhere.yaml"])


def test_limits_have_to_be_above_zero():
    with pytest.raises(EGTRError, match="max_pixels is 0"):
        Limits(max_pixels=0)


def run_tool(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["serve.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "tools/serve.py"), run_name="__main__")
    return end.value.code, capsys.readouterr().err


def test_a_taken_port(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, error = run_tool(monkeypatch, capsys, "--port", str(port))
    assert code == 1
    assert f"error: 127.0.0.1, port {port}: " in error and "take another port, 0 for any free one" in error


def test_weights_that_are_missing_end_the_server(monkeypatch, capsys, tmp_path):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    code, error = run_tool(
        monkeypatch, capsys, "--host", "localhost", "--port", "0", "--model", f"scenes={tmp_path / 'gone.pth'}"
    )
    assert code == 1 and "gone.pth" in error
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_what_to_install(monkeypatch, package):
    names = [name for name in sys.modules if name.startswith("egtr.serving")]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else True)
    with pytest.raises(EGTRError, match=re.escape(f'needs {package}; install it by: pip install "egtr[web]"')):
        __import__("egtr.serving")


def examples(language):
    text = (ROOT / "docs/serving.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_examples_of_the_document(server, tmp_path):
    """They run as they stand there, but on the port of this server."""
    (tmp_path / "photo.jpg").write_bytes(encode(noise(40, 60), "JPEG"))
    (shell,), (code,) = examples("bash"), examples("python")
    for command, text in ((["bash", "-euc"], shell), ([sys.executable, "-c"], code)):
        assert "http://127.0.0.1:8000/" in text
        text = text.replace("http://127.0.0.1:8000/", server.address)
        subprocess.run([*command, text], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    assert '"relations"' in (tmp_path / "graph.json").read_text("utf-8")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
