"""Additions of `make docs` to mkdocs: pages from outside of docs/, links into the repository, a check of the result.

mkdocs loads this file as hooks, mkdocstrings as an extension of griffe; see mkdocs.yml.
"""

import os
import re
from pathlib import Path, PurePosixPath

import griffe
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Pages that lie outside of docs/, and what they are called on the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "projects/EGTR/README.md": "recipes.md",
    "projects/EGTR/weights/README.md": "weights.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
# Elements that a browser fetches when a page opens: scripts, style sheets, images, fonts and frames, but no links.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(?P<src>(?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?![^>]*rel=["']?(?:canonical|prev|next))[^>]*\bhref=["']?(?P<href>(?:https?:)?//[^"'\s>]+)"""
    r"""|(?:url\(|@import )["']?(?P<url>(?:https?:)?//[^"')\s]+)"""
)


def on_files(files, config):
    """Add the pages that lie outside of docs/."""
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links to files of the repository into links of the site; files that are no pages are copied to source/."""
    uri = page.file.src_uri
    if uri == "api.md":
        markdown = re.sub(
            r"^::: ([\w.]+)$", lambda found: f"::: {defined_at(found[1])}", markdown, flags=re.MULTILINE
        )
    origin = next((source for source, name in PAGES.items() if name == uri), f"docs/{uri}")

    def rewrite(link):
        mark, text, target, anchor = link.groups()
        text = LINK.sub(rewrite, text)
        path = (ROOT / origin).parent.joinpath(target).resolve()
        if not path.is_relative_to(ROOT) or not path.exists():
            raise PluginError(f"{origin}: {target} does not exist")
        if path.is_dir():
            return text
        new = os.path.relpath(site_uri(path, config, files), PurePosixPath(uri).parent)
        return f"{mark}[{text}]({new}{anchor or ''})"

    return LINK.sub(rewrite, markdown)


def defined_at(name):
    """Find where a public name is defined: rooms load names when they are first used, which griffe cannot follow."""
    place, _, attribute = name.rpartition(".")
    folder = ROOT / place.replace(".", "/")
    if not folder.is_dir() or place == "egtr":
        return name
    definition = re.compile(rf"^(?:class|def) {attribute}\b", re.MULTILINE)
    files = [path for path in folder.rglob("*.py") if definition.search(path.read_text("utf-8"))]
    if len(files) != 1:
        raise PluginError(f"docs/api.md: {name} is defined in {len(files)} modules; name one of them")
    return ".".join([*files[0].relative_to(ROOT).with_suffix("").parts, attribute])


def site_uri(path, config, files):
    """Return where a file of the repository is on the site; add it if it is not there yet."""
    source = path.relative_to(ROOT).as_posix()
    if source in PAGES:
        return PAGES[source]
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    # With an ending that browsers show.
    uri = f"source/{source}" if path.suffix in (".png", ".svg") else f"source/{source}.txt"
    if files.get_file_from_path(uri) is None:
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return uri


def on_post_build(config):
    """Refuse a site that would fetch anything from elsewhere."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := FETCHED.search(path.read_text("utf-8"))):
            raise PluginError(f"{path}: {found[0]} is fetched from elsewhere")


class PlainRoles(griffe.Extension):
    """Show the roles of docstrings, such as :class:`~egtr.structures.Prediction`, as code."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r":(?:\w+:)?\w+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
