"""The parts of an interactive page: our files, and the graph library vis-network."""

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from matplotlib.colors import to_hex

from ..palette import object_colors, text_color

# The part that shows one graph, for any page; later files use earlier ones.
VIEWER_SCRIPTS = (
    "dom.js",
    "graph_model.js",
    "image_view.js",
    "network_view.js",
    "explanation_view.js",
    "viewer.js",
)
VIEWER_STYLES = ("theme.css", "viewer.css")
# The same for a page that takes one image after the other from a person.
IMAGE_PAGE_SCRIPTS = (*VIEWER_SCRIPTS, "image_page.js")
IMAGE_PAGE_STYLES = (*VIEWER_STYLES, "image_page.css")

# Colours before they repeat, see object_colors.
NUM_COLORS = 21


def read_asset(name: str, package: str = __package__) -> str:
    """Read one of the files in the folder ``page`` of a package, by default of this one."""
    return files(package).joinpath("page", name).read_text("utf-8")


def read_graph_library() -> str:
    """Read the JavaScript of vis-network, which draws graphs; its licence lies beside it."""
    code = read_asset("vis-network.min.js")
    # Browsers' developer tools would look for the map beside the page.
    return code.replace("//# sourceMappingURL=vis-network.min.js.map", "")


def to_json(value: Any) -> str:
    """Write JSON for a ``<script>`` element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def page_config() -> dict[str, Any]:
    """Return the settings of the viewer: ``palette``, (background, text) colours of objects, in their order."""
    colors = object_colors(NUM_COLORS)
    return {"palette": [[to_hex(color), to_hex(text_color(color))] for color in colors]}


def assemble_page(
    body: str,
    title: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    *,
    connect: str = "'none'",
    run: str = "",
) -> tuple[str, str]:
    """Assemble one HTML document with everything inside, in two parts: elements with data may stand between them.

    Args:
        body: HTML that is seen at first.
        title: plain text.
        styles: CSS, one after the other.
        scripts: JavaScript, one after the other, after the graph library. They share one scope, and read
            :func:`page_config` as ``readConfig()``.
        connect: addresses that scripts may request, as a source list of a content security policy: none, or
            ``'self'`` for the page of a server.
        run: sources of further scripts that the page may run, as in a content security policy.
    """
    code_sources = f"'unsafe-inline' {run}".rstrip()
    policy = (
        "default-src 'none'; img-src data: blob:; media-src blob:; style-src 'unsafe-inline'; "
        f"script-src {code_sources}; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
    code = "\n".join(["'use strict';", *scripts])
    upper, _, lower = read_asset("page.html").partition("{{data}}")
    places = {
        "policy": policy,
        "title": html.escape(title),
        "style": "\n".join(styles),
        "body": body.rstrip(),
        "config": to_json(page_config()),
    }
    return _fill(upper, places), _fill(lower, {"script": f"{read_graph_library()}\n</script>\n<script>\n{code}"})


def image_page_body(
    *, privacy: str, actions: str, footer: str, choices: str = "", tools: str = "", vocabulary: str = ""
) -> str:
    """Return the HTML of a page that takes one image after the other; see IMAGE_PAGE_SCRIPTS.

    Args:
        privacy: a sentence that says where images go.
        actions: what can be done with a graph, beside its name.
        footer: the last line of the page.
        choices: further choices beside those of every such page.
        tools: a further bar, between the name of an image and its graph.
        vocabulary: further lines about the model, after its classes and predicates.
    """
    parts = {
        "choices": choices,
        "privacy": privacy,
        "actions": actions,
        "tools": tools,
        "vocabulary": vocabulary,
        "footer": footer,
    }
    return _fill(read_asset("image_page.html"), {name: part.rstrip() for name, part in parts.items()})


def _fill(template: str, places: dict[str, str]) -> str:
    """Put texts in place of each ``{{name}}`` of the template, which are in this order."""
    parts = []
    for name, text in places.items():
        # In order, so that the texts put in are not searched for further places.
        before, _, template = template.partition("{{" + name + "}}")
        parts += [before, text]
    return "".join([*parts, template])
