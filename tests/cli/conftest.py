"""The drawn dataset, small and registered, and a folder of one's own to work in."""

import pytest

from egtr.data.datasets import register_builtin_datasets
from egtr.data.scenes import prepare_scenes


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory):
    """A folder with ``scenes``: 60 images to train, 20 to validate and 4 to test."""
    folder = tmp_path_factory.mktemp("datasets")
    prepare_scenes(folder / "scenes", sizes=(60, 20, 4))
    return folder


@pytest.fixture
def scenes(scenes_folder, tmp_path, monkeypatch):
    """The same, registered; the test works in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    register_builtin_datasets(str(scenes_folder))
    yield scenes_folder / "scenes"
    register_builtin_datasets()
