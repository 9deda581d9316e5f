"""A server as people start it, in a process of its own, and images to send."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from egtr.data.scenes import draw_scene
from tests.serving.images import encode

ROOT = Path(__file__).resolve().parents[2]
# A clone that is not installed is found, too.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
MAX_REQUESTS = 3
# Seconds; a machine that is busy with other things still has to make it.
PATIENCE = 120


@dataclass
class Server:
    """A running tools/serve.py."""

    process: subprocess.Popen
    address: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=PATIENCE, trust_env=False)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE
        with self.client() as client:
            while client.get("health").status_code != 200:
                assert time.monotonic() < end, "the server does not become ready"
                time.sleep(0.05)


@pytest.fixture(scope="module")
def server():
    """With one checkpoint under two names, of which the second is loaded when it is first asked for."""
    weights = "scenes=egtr://weights/scenes_egtr.pth"
    command = [sys.executable, str(ROOT / "tools/serve.py"), "--model", "scenes", "--model", weights, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--max-requests", str(MAX_REQUESTS)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"http://\S+", line)
        assert address, f"the server says {line!r}"
        server = Server(process, address.group())
        server.wait_until_ready()
        yield server
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def scene():
    """An image that the shipped model was made for, as PNG."""
    return encode(draw_scene(0, "test", 0)[0], "PNG")
