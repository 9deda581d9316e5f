"""Fixtures for all tests: a tiny dataset on disk, in Visual Genome's JSON layout."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.data import register_egtr_json
from tests.making import (  # noqa: F401 - fixtures
    TinyDataset,
    make_cfg,
    make_run,
    make_trainer,
    restore_loggers,
    serve,
    tiny_options,
    write_tiny_dataset,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def make_tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TinyDataset]]:
    """A function that writes and registers another tiny dataset; takes ``write_tiny_dataset``'s keywords."""
    names = []

    def make(**options) -> TinyDataset:
        root = tmp_path_factory.mktemp("tiny") / "data"
        classes, predicates = write_tiny_dataset(root, **options)
        prefix = f"tiny{len(names)}"
        for split in ("train", "val", "test"):
            names.append(f"{prefix}_{split}")
            files = str(root / f"{split}.json"), str(root / "images")
            register_egtr_json(names[-1], *files, thing_classes=classes, predicate_classes=predicates)
        return TinyDataset(root, *names[-3:], classes, predicates)

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="session")
def tiny_dataset(make_tiny_dataset: Callable[..., TinyDataset]) -> TinyDataset:
    """Six images of 72 x 96 per split, 5 classes, 4 predicates. Shared: do not write to its files."""
    return make_tiny_dataset()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A Chromium without a window, for pages; skips where the machine has none."""
    # Here, since only tests of pages need it.
    from playwright.sync_api import sync_playwright

    from tests.browsing import FLAGS, find_browser

    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine: install one, or name it in EGTR_BROWSER")
    # Not for the whole session: its event loop would be in the way of others.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
