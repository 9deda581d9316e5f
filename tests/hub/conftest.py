"""An internet on this machine, and a folder of one's own for downloads."""

import sys

import gdown  # noqa: F401 - its module is patched
import pytest

from tests.hub.internet import Internet

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of downloads."""
    monkeypatch.setenv("EGTR_HOME", str(tmp_path / "home"))
    for name in ("EGTR_OFFLINE", "EGTR_YES", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
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
    monkeypatch.setattr("egtr.hub.download.TIMEOUT", (5.0, 1.0))
    # The name gdown.download is that of the function in it.
    monkeypatch.setattr(sys.modules["gdown.download"], "_wait_or_cancel", lambda **kwargs: None)
    with internet.running():
        yield internet
