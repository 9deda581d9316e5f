"""Pages in a real browser, watched: what they ask for and what they complain about."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect

# The first one there is serves; EGTR_BROWSER names another.
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# Without a sandbox, as containers run as root; without what a browser does on its own account; with a camera that
# shows a test image, and that pages may use unasked.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
# What the background of our pages comes to.
LIGHT, DARK = "rgb(243, 245, 247)", "rgb(21, 24, 28)"
# Milliseconds that a page may take for one step, however busy the machine is; the five seconds that are usual are
# too few for a model that is loaded meanwhile.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


def find_browser() -> str | None:
    """The path of a Chromium or Chrome, or None."""
    return os.environ.get("EGTR_BROWSER") or next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def watched_page(browser: Browser, url: str, *, served: bool = False, **context_options) -> Iterator[Page]:
    """An open page; at the end it is an error if it asked for anything but itself, or said anything.

    Args:
        served: it may ask the server that it came from, whose address is ``url``, for more.
        context_options: of Playwright's ``new_context``, such as ``color_scheme`` or ``viewport``.
    """
    asked, said = [], []
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context_options})
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        yield page
        # What the document itself brings along is no request to anybody.
        sent = [address for address in asked if not address.startswith(("data:", "blob:"))]
        assert sent[0] == url and all(served and address.startswith(url) for address in sent[1:])
        assert said == []
    finally:
        context.close()
