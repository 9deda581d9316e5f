"""All pages: links lead somewhere, and files that are named exist."""

import re

import pytest

from tests.docs.commands import PAGES, ROOT

NAMES = [str(path.relative_to(ROOT)) for path in PAGES]


def without_code(text):
    return re.sub(r"```.*?```|^    .*$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path):
    """The anchors of a page as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links(name):
    page = ROOT / name
    for target, anchor in re.findall(
        r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", without_code(page.read_text("utf-8"))
    ):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text("utf-8")
    named = re.findall(
        r"(?<![\w/.])(?:configs|tools|benchmarks|tests|projects|docs|egtr)/[\w/.-]+\.(?:yaml|py|md|ipynb)", text
    )
    folders = (ROOT, (ROOT / name).parent)
    missing = [path for path in named if not any((folder / path).exists() for folder in folders)]
    # The changelog names what has gone.
    assert missing == (["docs/scaling.md"] if name == "CHANGELOG.md" else [])


def test_no_page_says_to_install_from_the_index():
    """The name there is not ours yet."""
    for path in PAGES:
        assert not re.search(r"pip install [\"']?egtr", path.read_text("utf-8")), path


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert [
        page for page in sorted(pages) if not re.search(rf"^ +- (?:.*: )?{re.escape(page)}$", text, re.MULTILINE)
    ] == []
