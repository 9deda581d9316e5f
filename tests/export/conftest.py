"""The package onnxruntime-web, and pages with a model in the browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

from egtr.export.web import PACKAGE, VERSION


@pytest.fixture(scope="session")
def runtime_package(tmp_path_factory) -> Path:
    """The pinned package as npm fetches it; skips where npm is not installed."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which fetches onnxruntime-web")
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run([npm, "pack", f"{PACKAGE}@{VERSION}", "--silent"], cwd=folder, check=True, timeout=600)
    return folder / f"{PACKAGE}-{VERSION}.tgz"
