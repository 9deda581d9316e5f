"""HEAD, and refusals that are sent before the upload has ended, as clients see them."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from tests.serving.conftest import PATIENCE

GRAPH = "api/v1/scene-graph"
LARGE = 20_000_000


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (GRAPH, {}, 413),
        ("nowhere", {}, 404),
        ("health", {}, 405),
        (f"{GRAPH}?topk=1", {}, 422),
        (GRAPH, {"Origin": "http://evil.example"}, 403),
        (GRAPH, {"Host": "evil.example"}, 421),
        (GRAPH, {"Content-Encoding": "gzip"}, 415),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_early_refusals_reach_clients_that_send_everything_first(server, path, headers, status, chunked):
    body = (bytes(1_000_000) for _ in range(25)) if chunked else bytes(LARGE + 5_000_000)
    request = urllib.request.Request(server.address + path, body, headers)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE)
    with refusal.value as answer:
        assert answer.code == status and json.load(answer)["detail"]
        assert answer.headers["Connection"] == "close"


def test_an_upload_that_pauses_after_its_refusal_is_closed(server, monkeypatch):
    monkeypatch.setattr("egtr.serving.protocol.PAUSE", 0.2)
    host, port = server.address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as upload, upload.makefile("rb") as file:
        upload.sendall(f"POST /nowhere HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nfirst".encode())
        assert file.readline() == b"HTTP/1.1 404 Not Found\r\n"
        file.read()


def test_a_client_that_waits_for_leave_to_send_gets_only_the_refusal(server):
    host, port = server.address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as upload, upload.makefile("rb") as file:
        head = f"POST /{GRAPH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {LARGE + 1}\r\n"
        upload.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert file.readline().startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close\r\n" in file.read().lower()


@pytest.mark.parametrize("path", ["", "health", "api/v1/models", "openapi.json"])
def test_head_has_the_headers_of_get_and_no_body(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"") and get.content
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


def test_head_of_what_takes_an_image_is_refused(client):
    assert client.head(GRAPH).status_code == 405
