"""A browser of the system, and a server in this process for its pages."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from egtr.serving import Limits, ModelStore, Worker
from egtr.serving.server import create_server, listen

# The first one that exists is used. EGTR_BROWSER names another.
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# Without a sandbox, since containers run as root; without requests of the browser's own; with a camera that shows a
# test image, and that pages may use without asking.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
# Seconds that the server gets to end.
PATIENCE = 120


def find_browser() -> str | None:
    """Find the path of a Chromium or Chrome; None if there is none."""
    return os.environ.get("EGTR_BROWSER") or next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def serving(store: ModelStore, worker: Worker | None = None, **options: object) -> Iterator[str]:
    """Serve models in a thread of this process, at an address that is free; yield the address.

    Args:
        store: the models.
        worker: computes the answers; None: one with the usual limits. It is closed at the end.
        options: of :func:`egtr.serving.server.create_server`.
    """
    worker = worker or Worker(Limits())
    server = create_server(store, worker, **options)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            worker.close()
