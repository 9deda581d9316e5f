"""Fixtures of all tests: a tiny dataset on disk, the smallest run on it, the wheel, and a browser.

What costs seconds to import is imported in the fixture that needs it.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.making import TINY, TinyDataset, write_tiny_dataset
from tests.own_process import keep_out, pytest_runtest_makereport, pytest_runtest_protocol  # noqa: F401
from tests.running import Run, run_python, served

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from playwright.sync_api import Browser

    from egtr.engine import EGTRTrainer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def make_tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TinyDataset]]:
    """A function that writes and registers another tiny dataset; takes ``write_tiny_dataset``'s keywords."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from egtr.data import register_egtr_json

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


@pytest.fixture(scope="session")
def tiny_options(tiny_dataset) -> dict:
    """Key to value: a run on ``tiny_dataset``."""
    return TINY | {"DATASETS.TRAIN": (tiny_dataset.train,), "DATASETS.TEST": (tiny_dataset.val,)}


@pytest.fixture
def make_cfg(tiny_options: dict, tmp_path: Path) -> Callable[..., "CfgNode"]:
    """A function from changes, key to value, to the configuration of a tiny run into ``tmp_path / "run"``."""
    import torch

    from egtr.config import load_config

    def make(changes: dict | None = None) -> "CfgNode":
        torch.manual_seed(0)
        options = tiny_options | {"OUTPUT_DIR": str(tmp_path / "run")} | (changes or {})
        return load_config(opts=[word for pair in options.items() for word in pair])

    return make


@pytest.fixture
def make_run(tiny_options: dict, tiny_dataset: TinyDataset, tmp_path: Path) -> Callable[..., Run]:
    """A function from changes, key to value, and further words to a run that lasts until it is killed."""
    rows = [
        [name, "egtr", str(tiny_dataset.root / f"{split}.json"), str(tiny_dataset.root / "images")]
        for name, split in (("mine_train", "train"), ("mine_val", "val"))
    ]
    options = tiny_options | {
        "DATASETS.REGISTER": json.dumps(rows),
        "DATASETS.TRAIN": ("mine_train",),
        "DATASETS.TEST": (),
        "SOLVER.MAX_ITER": 300,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.KEEP_CHECKPOINTS": 2,
    }

    def make(changes: dict | None = None, words: tuple[str, ...] = (), folder: Path = tmp_path) -> Run:
        folder.mkdir(exist_ok=True)
        return Run(folder, options | (changes or {}), list(words))

    return make


@pytest.fixture
def make_trainer() -> Callable[["CfgNode"], "EGTRTrainer"]:
    """A function from a configuration to a trainer."""
    from egtr.engine import EGTRTrainer

    return EGTRTrainer


@pytest.fixture
def without_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations do not draw the recall of predicates, which takes longer than a tiny run."""
    monkeypatch.setattr("egtr.evaluation.recall_plot.plot_predicate_recall", lambda *args, **kwargs: None)


@pytest.fixture(autouse=True)
def restore_loggers() -> Iterator[None]:
    """A run gives the libraries' loggers handlers of its own; other tests listen to these loggers."""
    loggers = [logging.getLogger(name) for name in ("fvcore", "detectron2", "egtr")]
    before = [(logger.propagate, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (propagate, level, handlers) in zip(loggers, before, strict=True):
        logger.propagate, logger.level, logger.handlers = propagate, level, handlers


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """A function that puts a folder on a web server of this machine and returns its address."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ExitStack() as servers:
        yield lambda folder: servers.enter_context(served(folder))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built out of a copy, so that nothing is left in the clone."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, source)
    for name in ("configs", "egtr", "projects"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    # A former build may have left files there, which must not be shipped.
    leftover = source / "build/lib/egtr/_resources/configs/gone.yaml"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    done = run_python("-m", "build", "--wheel", "--no-isolation", "--outdir", target, source)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = target.iterdir()
    return path


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, for PYTHONPATH; its commands are in ``bin``."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    done = run_python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A Chromium without a window, for pages; skips where the machine has none."""
    # Here, since only tests of pages need it.
    from playwright.sync_api import sync_playwright

    from benchmarks.browser import FLAGS, find_browser

    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine: install one, or name it in EGTR_BROWSER")
    # Not for the whole session: its event loop would be in the way of others.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()
