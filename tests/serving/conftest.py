"""A server for all tests, in a thread of this process, and images to send."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.browser import serving
from egtr.data.scenes import draw_scene
from egtr.inference import EGTRPredictor
from egtr.serving import Limits, ModelStore, Worker
from tests.serving.images import encode

ROOT = Path(__file__).resolve().parents[2]
MAX_REQUESTS = 3
# Seconds; a machine that is busy with other things still has to make it.
PATIENCE = 120


@dataclass
class Server:
    """A running server."""

    address: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=PATIENCE, trust_env=False)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE
        with self.client() as client:
            while client.get("health").status_code != 200:
                assert time.monotonic() < end, "the server does not become ready"
                time.sleep(0.05)


@contextmanager
def running(store: ModelStore, limits: Limits, **options) -> Iterator[Server]:
    """Serve ``store`` in a thread: another process would take seconds to import PyTorch."""
    with serving(store, Worker(limits), **options) as address:
        yield Server(address)


@pytest.fixture(scope="session")
def predictor():
    return EGTRPredictor.create("scenes")


# It ends with its module, since tests of other folders fork this process, which is unsafe while it has such threads.
@pytest.fixture(scope="module")
def server(predictor):
    """A server of one model under two names, the names that `egtr serve` gives them."""
    store = ModelStore({"scenes": predictor, "scenes_egtr": predictor})
    with running(store, Limits(max_requests=MAX_REQUESTS)) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def scene():
    """An image that the shipped model was made for, as PNG."""
    return encode(draw_scene(0, "test", 0)[0], "PNG")
