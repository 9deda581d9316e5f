"""An internet on this machine, a folder of one's own for downloads, and released models in both."""

import dataclasses
import hashlib
import shutil
import sys

import gdown  # noqa: F401 - its module is patched
import pytest
from PIL import Image

from egtr.hub import catalogue, models
from egtr.hub.catalogue import read_catalogue
from egtr.hub.installing import install
from tests.golden_cases import rule
from tests.hub.internet import Internet, Served
from tests.hub.released import make_tar, write_released

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of downloads."""
    monkeypatch.setenv("EGTR_HOME", str(tmp_path / "home"))
    for name in ("EGTR_OFFLINE", "EGTR_YES", "HF_HUB_OFFLINE"):
        # Set and not deleted, so that what --yes sets does not outlive the test.
        monkeypatch.setenv(name, "0")
    return tmp_path / "home"


@pytest.fixture
def internet(tmp_path, monkeypatch, home):
    """All hosts lead to this machine, for this process and those that it starts."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    internet = Internet(str(tmp_path / "authority.pem"))
    for name, value in {
        "HTTPS_PROXY": internet.proxy,
        "https_proxy": internet.proxy,
        "REQUESTS_CA_BUNDLE": internet.ca_file,
        "HF_ENDPOINT": internet.hub,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "huggingface"),
    }.items():
        monkeypatch.setenv(name, value)
    # Waiting belongs to the real internet.
    monkeypatch.setattr("egtr.hub.download.PAUSE", 0.01)
    # Long enough for a machine that does much else; tests of servers that stall set less.
    monkeypatch.setattr("egtr.hub.download.TIMEOUT", (60.0, 60.0))
    # The name gdown.download is that of the function in it.
    monkeypatch.setattr(sys.modules["gdown.download"], "_wait_or_cancel", lambda **kwargs: None)
    with internet.running():
        yield internet


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """The bytes of each released archive by name, with few weights."""
    folder = tmp_path_factory.mktemp("released")
    kinds = {
        "vg150": {},
        "vg150_detector": {"detector": True},
        "oiv6": {"classes": 13, "predicates": 6},
        "oiv6_detector": {"classes": 13, "predicates": 6, "detector": True},
    }
    made = {}
    for name, options in kinds.items():
        made[name] = make_tar(write_released(folder / name, **options), folder / f"{name}.tar.gz")
    return made


@pytest.fixture
def released(internet, archives, monkeypatch):
    """Google Drive has the archives, and the catalogue the hash of the one that it knows."""
    entries = dict(read_catalogue())
    for name, content in archives.items():
        (file,) = entries[name].files
        internet.files[file.address] = Served(content)
        if file.sha256:
            file = dataclasses.replace(file, sha256=hashlib.sha256(content).hexdigest())
            entries[name] = dataclasses.replace(entries[name], files=(file,))
    for module in (models, catalogue):
        monkeypatch.setattr(module, "read_catalogue", lambda: entries)
    return internet


@pytest.fixture(scope="session")
def converted(archives, tmp_path_factory):
    """A folder of downloads in which vg150 has arrived."""
    home = tmp_path_factory.mktemp("converted")
    archive = home / "egtr_vg.tar.gz"
    archive.write_bytes(archives["vg150"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EGTR_HOME", str(home))
        install(read_catalogue()["vg150"], [archive], home / "models/vg150", ())
    return home


@pytest.fixture
def fetched(home, converted):
    """The folder of vg150, which is here."""
    shutil.copytree(converted / "models/vg150", home / "models/vg150")
    return home / "models/vg150"


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """The name of an image in the working folder of the test."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(rule.image("photo", 96, 128)).save("photo.jpg")
    return "photo.jpg"
