"""Pages in a real browser, whose requests and error messages are watched."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect

# The background of our pages.
LIGHT, DARK = "rgb(243, 245, 247)", "rgb(21, 24, 28)"
# Milliseconds that a page may take for one step, however busy the machine is. The usual five seconds are too few
# while a model is loaded.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@contextmanager
def watched_page(browser: Browser, url: str, *, served: bool = False, **context_options) -> Iterator[Page]:
    """Open a page. At the end it must have asked for nothing but itself, and have logged nothing.

    Args:
        served: whether the page may ask the server at ``url``, which it came from, for more.
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
        # Content of the document itself is no request to a server.
        sent = [address for address in asked if not address.startswith(("data:", "blob:"))]
        assert sent[0] == url and all(served and address.startswith(url) for address in sent[1:])
        assert said == []
    finally:
        context.close()
