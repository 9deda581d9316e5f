"""A server as a real client meets it: every answer, every refusal, and its end."""

import gzip
import io
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import jsonschema
import networkx as nx
import numpy as np
import pytest
from fastapi.openapi.models import OpenAPI
from PIL import Image

from egtr.cli import main
from egtr.serving import Limits, ModelStore
from egtr.serving.server import listen
from egtr.structures import EGTRError, SceneGraph
from tests.serving.conftest import MAX_REQUESTS, PATIENCE, Server, running
from tests.serving.images import empty_png, encode, noise

GRAPH = "api/v1/scene-graph"
JPEG = encode(noise(40, 60), "JPEG")
LARGE = 20_000_000


class Upload:
    """A request whose body is held back until :meth:`finish`."""

    def __init__(self, server, body):
        host, port = server.address.removeprefix("http://").rstrip("/").split(":")
        self.body = body
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        head = f"POST /{GRAPH} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
        self.socket.sendall(f"{head}Expect: 100-continue\r\nConnection: close\r\n\r\n".encode())
        # The server says so when it begins to read, so that it has the request now.
        assert self.socket.recv(1000).startswith(b"HTTP/1.1 100")

    def finish(self):
        """The answer: status and body."""
        self.socket.sendall(self.body)
        with self.socket, self.socket.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def test_the_graph_is_the_predictors(client, predictor, scene):
    answer = client.post(GRAPH, content=scene)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    jsonschema.validate(answer.json(), SceneGraph.json_schema())
    # One thread or several may round differently.
    expected = predictor(scene).for_display()
    graph = SceneGraph.from_dict(answer.json())
    assert len(graph) > 0 and np.array_equal(graph.triplets, expected.triplets)
    np.testing.assert_allclose(graph.triplet_scores, expected.triplet_scores, atol=1e-4)


def test_parameters(client, scene):
    def ask(**parameters):
        return SceneGraph.from_dict(client.post(GRAPH, content=scene, params=parameters).json())

    default = ask()
    assert np.array_equal(ask(top_k=2).triplets[:, 2], default.triplets[:2, 2]) and len(ask(top_k=2)) == 2
    least = float(default.triplet_scores[1])
    assert len(ask(min_score=least - 1e-6)) == 2
    # Queries that found the same object stay apart, and there are more relations of low score.
    everything = ask(min_score=0, top_k=10_000, merge=False)
    assert len(everything) == 100 > len(default)
    assert len(ask(top_k=0)) == 0


def test_forms_and_formats(client, scene):
    def ask(**parameters):
        answer = client.post(GRAPH, files={"file": ("C:\\images/my street.png", scene)}, params=parameters)
        assert answer.status_code == 200
        return answer

    graph = SceneGraph.from_dict(ask().json())
    assert graph.file_name == "my street.png"
    graphml = ask(format="graphml")
    assert graphml.headers["content-type"] == "application/graphml+xml"
    assert nx.read_graphml(io.BytesIO(graphml.content)).number_of_edges() == len(graph)
    png = ask(format="png")
    assert png.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(png.content)) as image:
        # 13 to 15 inches at 160 pixels, as the graph needs it.
        assert image.format == "PNG" and 13 * 160 < image.width < 15 * 160


def test_explanations_go_with_the_graph(client, scene):
    answer = client.post("api/v1/explanations", content=scene, params={"top_k": 3}).json()
    relations = answer["graph"]["relations"]
    assert len(relations) == len(answer["explanations"]) == 3
    for relation, explanation in zip(relations, answer["explanations"], strict=True):
        assert explanation["predicate"] == relation["predicate"]
        assert explanation["score"] == pytest.approx(relation["score"], abs=1e-3)
    assert answer["image"].startswith("data:image/webp;base64,")
    assert client.post("api/v1/explanations", content=scene, params={"top_k": 0}).json()["explanations"] == []


def test_images_are_turned_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    answer = client.post(GRAPH, content=encode(noise(40, 60), "JPEG", exif=exif))
    assert answer.json()["image_size"] == {"height": 60, "width": 40}


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM"])
def test_formats_that_are_read(client, format):
    assert client.post(GRAPH, content=encode(noise(20, 30), format)).status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000)])
def test_odd_sizes(client, size):
    for route in (GRAPH, "api/v1/explanations"):
        assert client.post(route, content=encode(noise(*size), "PNG")).status_code == 200


REFUSED = {
    "empty": (b"", 400, "there is no image"),
    "bomb": (empty_png(20_000, 20_000), 413, "more than 40 megapixels"),
    "large header": (empty_png(5_000, 9_000), 413, "more than 40 megapixels; scale it down: it is 9000 x 5000"),
    "many bytes": (bytes(LARGE + 1), 413, "more than 20 MB"),
    "text": (b"hello", 415, "no image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", 415, "no image"),
    "PDF": (encode(noise(9, 9), "PDF"), 415, "no image"),
    "icon": (encode(noise(16, 16), "ICO"), 415, "no image"),
    "truncated": (JPEG[: len(JPEG) // 2], 422, "damaged"),
    "nothing inside": (empty_png(50, 50), 422, "damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_image_or_too_large(client, case):
    content, status, text = REFUSED[case]
    answer = client.post(GRAPH, content=content)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert text in answer.json()["detail"]
    if content:
        assert client.post(GRAPH, files={"file": ("a.jpg", content)}).status_code == status


def test_bytes_are_counted_while_they_arrive(client):
    """Without a Content-Length, as a stream has none."""
    stream = (bytes(LARGE // 4) for _ in range(5))
    answer = client.post(GRAPH, content=stream)
    assert answer.status_code == 413 and "20 MB" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ({"params": {"model": "unknown"}}, 404, "there is no model 'unknown'; take one of: scenes, scenes_egtr"),
        ({"params": {"topk": 3}}, 422, "topk: Extra inputs are not permitted"),
        ({"params": {"min_score": 3}}, 422, "min_score: Input should be less than or equal to 1"),
        ({"params": {"min_score": "nan"}}, 422, "min_score"),
        (
            {"params": {"top_k": -1, "format": "exe"}},
            422,
            "top_k: Input should be greater than or equal to 0; format",
        ),
        ({"headers": {"Content-Type": "multipart/form-data"}}, 400, "form cannot be read: Missing boundary"),
        ({"headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "form cannot be read"),
        ({"headers": {"Host": "evil.example:8000"}}, 421, "call it by one of its names: 127.0.0.1, localhost ("),
        ({"headers": {"Origin": "http://evil.example"}}, 403, "requests of other pages are refused"),
        ({"headers": {"Origin": "null"}}, 403, "requests of other pages are refused"),
        ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "requests of other pages are refused"),
    ],
)
def test_other_refusals(client, request_, status, text):
    answer = client.post(GRAPH, content=JPEG, **request_)
    assert answer.status_code == status
    assert text in answer.json()["detail"]


def test_two_files_or_none_in_a_form(client):
    two = [("a", ("a.jpg", JPEG)), ("b", ("b.jpg", JPEG))]
    assert client.post(GRAPH, files=two).status_code == 400
    assert client.post(GRAPH, files={"text": (None, "hello")}).status_code == 400


def test_the_page_may_ask_and_others_may_not_show_it(client):
    origin = str(client.base_url).rstrip("/")
    assert client.post(GRAPH, content=JPEG, headers={"Origin": origin}).status_code == 200
    answer = client.get("")
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff" and "server" not in answer.headers
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options(GRAPH, headers=preflight)
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    # FastAPI's own pages would load code from elsewhere.
    assert client.get("docs").status_code == client.get("redoc").status_code == 404


def test_openapi_document(client, scene):
    document = client.get("openapi.json").json()
    OpenAPI.model_validate(document)
    routes = {"/health", "/api/v1/models", f"/{GRAPH}", "/api/v1/explanations", "/api/v1/relations"}
    assert set(document["paths"]) == routes

    def look(value):
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].rpartition("/")[0] == "#/components/schemas"
                assert value["$ref"].rpartition("/")[2] in document["components"]["schemas"]
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(document["paths"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    post = document["paths"][f"/{GRAPH}"]["post"]
    names = {parameter["name"] for parameter in post["parameters"]}
    selection = {"model", "min_score", "top_k", "merge", "single_objects", "refine_boxes", "with_found"}
    assert names == selection | {"format"}
    # The routes answer as the document promises.
    for path, method in (
        ("health", "get"),
        ("api/v1/models", "get"),
        (GRAPH, "post"),
        ("api/v1/explanations", "post"),
    ):
        answer = client.request(method, path, content=scene if method == "post" else None)
        content = document["paths"][f"/{path}"][method]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


def test_the_second_model_is_loaded_when_it_is_asked_for(predictor, scene):
    def states():
        answer = client.get("api/v1/models").json()
        assert answer["default"] == "mine"
        return {model["name"]: model["state"] for model in answer["models"]}

    store = ModelStore({"mine": predictor, "other": "scenes=egtr://weights/scenes_rtdetr.pth"})
    with running(store, Limits()) as server, server.client() as client:
        assert states() == {"mine": "ready", "other": "not loaded"}
        first, second = (client.post(GRAPH, content=scene, params={"model": name}).json() for name in states())
        assert first == second
        assert states() == {"mine": "ready", "other": "ready"}


def test_parallel_requests_have_their_own_answers(server):
    sizes = [(30 + 5 * i, 40) for i in range(MAX_REQUESTS)]

    def ask(size):
        with server.client() as client:
            return client.post(GRAPH, content=encode(noise(*size), "PNG")).json()["image_size"]

    with ThreadPoolExecutor(MAX_REQUESTS) as threads:
        answers = list(threads.map(ask, sizes))
    assert answers == [{"height": height, "width": width} for height, width in sizes]


def test_no_more_than_so_many_at_once(server, client):
    uploads = [Upload(server, JPEG) for _ in range(MAX_REQUESTS)]
    answer = client.post(GRAPH, content=JPEG)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert "try again" in answer.json()["detail"]
    assert client.get("health").json() == {"status": "ready"}
    assert [upload.finish()[0] for upload in uploads] == [200] * MAX_REQUESTS
    assert client.post(GRAPH, content=JPEG).status_code == 200


def test_clients_that_have_gone_give_their_place_back():
    """Requests that wait, and those being computed; waiting ones are never computed."""
    begun, go_on, images = threading.Event(), threading.Event(), []

    def predict(image, channel_order):
        images.append(image.shape)
        begun.set()
        assert go_on.wait(PATIENCE)
        raise EGTRError("only the number of calls matters")

    store = ModelStore({"mine": SimpleNamespace(predict=predict)})
    with running(store, Limits(max_requests=3)) as server, server.client() as client:
        uploads = [Upload(server, encode(noise(40, width), "JPEG")) for width in (60, 61, 62)]
        for upload in uploads:
            upload.socket.sendall(upload.body)
        try:
            assert begun.wait(PATIENCE)
            assert client.post(GRAPH, content=JPEG).status_code == 503
            for upload in uploads:
                upload.socket.close()
            # A place is free while the first image is still being computed.
            end = time.monotonic() + PATIENCE
            while client.post(GRAPH, content=b"no image").status_code == 503:
                assert time.monotonic() < end
                time.sleep(0.05)
            last = Upload(server, encode(noise(40, 63), "JPEG"))
        finally:
            go_on.set()
        assert last.finish()[0] == 500
    assert len(images) == 2 and images[-1] == (40, 63, 3)


def test_a_form_that_is_cut_off(client):
    form = httpx.Request("POST", "http://x", files={"file": ("a.jpg", JPEG)})
    content_type, body = form.headers["content-type"], form.read()
    end = len(body.rstrip())
    # Within the image, the headers of its part, the first line, and the last line.
    for length in (len(body) // 2, 60, 10, end - 1, end - 10):
        answer = client.post(GRAPH, content=body[:length], headers={"Content-Type": content_type})
        assert answer.status_code == 400 and "the form is cut off: its last line, --" in answer.json()["detail"]
    for whole in (body[:end], body + b"what follows is ignored"):
        assert client.post(GRAPH, content=whole, headers={"Content-Type": content_type}).status_code == 200


def test_a_compressed_body(client):
    answer = client.post(GRAPH, content=gzip.compress(JPEG), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415 and "Content-Encoding: gzip); send the image as it is" in answer.json()["detail"]


def test_what_a_model_knows(client, predictor):
    model = client.get("api/v1/models").json()["models"][0]
    assert model["classes"] == list(predictor.class_names)
    assert model["predicates"] == list(predictor.predicate_names)


def test_broken_off_uploads_give_their_place_back(server, client):
    for _ in range(MAX_REQUESTS):
        Upload(server, JPEG).socket.close()
    end = time.monotonic() + PATIENCE
    while client.post(GRAPH, content=JPEG).status_code == 503:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_finishes_first(number, capsys):
    """`egtr serve` in this process; tests/cli/test_wheel.py has one in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}/")
    answers = []

    def ask_and_end():
        try:
            end = time.monotonic() + PATIENCE
            while not _accepts(server):
                assert time.monotonic() < end
                time.sleep(0.05)
            upload = Upload(server, JPEG)
        finally:
            os.kill(os.getpid(), number)
        # From now on no one else is let in.
        while _accepts(server):
            assert time.monotonic() < end
            time.sleep(0.05)
        answers.append(upload.finish())

    client = threading.Thread(target=ask_and_end)
    client.start()
    assert main(["serve", "--port", str(port)]) == 0
    client.join()
    ((status, body),) = answers
    assert status == 200 and json.loads(body)["image_size"] == {"height": 40, "width": 60}
    assert f"Serving scenes at http://127.0.0.1:{port}/ - Ctrl-C ends it" in capsys.readouterr().out


def _accepts(server):
    host, port = server.address.removeprefix("http://").rstrip("/").split(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def test_answers_do_not_wait_for_the_receipt_of_their_head():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
