"""The server after a real nginx: which names it answers to, and which pages may use it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from egtr.serving import Limits, ModelStore
from egtr.serving.security import read_public_names
from egtr.structures import ConfigurationError
from tests.serving.conftest import PATIENCE, running
from tests.serving.images import encode, noise

JPEG = encode(noise(40, 60), "JPEG")
NAME = "graphs.example.org"
# Three usual ways: only the name, the name with its port, and nginx's default, the address of the server.
CONFIG = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off; client_max_body_size 25m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /host/ {{ proxy_pass {server}; proxy_set_header Host $host; }}
        location /http_host/ {{ proxy_pass {server}; proxy_set_header Host $http_host; }}
        location /default/ {{ proxy_pass {server}; }}
    }}
}}
"""


def find_nginx():
    # Debian's place is not in everyone's PATH.
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")


@pytest.fixture(scope="module")
def served(predictor):
    with running(
        ModelStore({"scenes": predictor}), Limits(), public_names=[f"{NAME}:8443", "other.example"]
    ) as server:
        yield server


@pytest.fixture(scope="module")
def folder():
    """A folder for nginx, whose workers are another user if root starts it; those of pytest are open to one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def proxy(served, folder):
    """An nginx in front of the server; skips where the machine has none."""
    program = find_nginx()
    if program is None:
        pytest.skip("no nginx on this machine: install Debian's nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, server=served.address))
    process = subprocess.Popen([program, "-p", folder, "-e", folder / "error.log", "-c", config])
    try:
        end = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None and time.monotonic() < end, (folder / "error.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/", timeout=PATIENCE, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize("way", ["host", "http_host", "default"])
def test_the_page_of_the_public_name_may_ask(proxy, way):
    headers = {"Host": f"{NAME}:8443", "Sec-Fetch-Site": "same-origin"}
    assert "Drop an image" in proxy.get(f"{way}/", headers=headers).text
    for origin in (f"https://{NAME}:8443", "https://other.example", "https://OTHER.example:443"):
        answer = proxy.post(f"{way}/api/v1/scene-graph", content=JPEG, headers={**headers, "Origin": origin})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("way", ["host", "http_host", "default"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"https://{NAME}", f"https://{NAME}.evil.example:8443", "null", ""]
)
def test_other_pages_may_not(proxy, way, origin):
    headers = {"Host": f"{NAME}:8443", "Origin": origin}
    answer = proxy.post(f"{way}/api/v1/scene-graph", content=JPEG, headers=headers)
    assert answer.status_code == 403 and "requests of other pages are refused" in answer.json()["detail"]


@pytest.mark.parametrize("way", ["host", "http_host"])
def test_a_foreign_name_that_points_at_the_proxy_is_refused(proxy, way):
    answer = proxy.get(f"{way}/", headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert f"127.0.0.1, localhost, {NAME}:8443, other.example" in answer.json()["detail"]


def test_a_refusal_of_too_large_an_upload_passes_the_proxy(proxy):
    answer = proxy.post("host/api/v1/scene-graph", content=bytes(22_000_000), headers={"Host": NAME})
    assert answer.status_code == 413 and "more than 20 MB" in answer.json()["detail"]


@pytest.mark.parametrize(
    "name", ["", "https://a.example", "a.example/path", "a b", "*.example", "a.example:x", ":80"]
)
def test_what_is_no_public_name(name):
    with pytest.raises(ConfigurationError, match="without https:// and without a path"):
        read_public_names([name])


def test_public_names_are_compared_as_browsers_write_them():
    names = read_public_names(["Graphs.Example.ORG:443", "bücher.example:8443", "[::1]:9000"])
    assert names == {
        "graphs.example.org": "graphs.example.org",
        "xn--bcher-kva.example:8443": "xn--bcher-kva.example",
        "[::1]:9000": "::1",
    }
