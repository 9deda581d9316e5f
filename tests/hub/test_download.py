"""Downloads from servers of this machine that answer as Google Drive, the Hub and plain servers do."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from egtr.hub import download as module
from egtr.hub.cache import get_home
from egtr.hub.download import download, download_repository, find_size
from egtr.hub.failures import one_line
from egtr.structures.errors import DownloadError, WriteError
from tests.hub.internet import Served, _Handler

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 12_000  # 3 MB, six pieces of gdown
PIECE = 512 * 1024
PLAIN = "https://example.org/files/model.pth"
ADDRESSES = ["gdrive:1abcDEF_-9", "hf:some-user/some.model/sub/model.pth", PLAIN]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "model.pth"


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_file_arrives_from_each_kind_of_place_and_leaves_nothing_else(internet, target, address):
    internet.files[address] = Served(CONTENT)
    assert find_size(address, target) == len(CONTENT)
    assert not target.exists()
    assert download(address, target, sha256=sha256(CONTENT), size=len(CONTENT)) == target
    assert target.read_bytes() == CONTENT
    assert {path.name for path in target.parent.iterdir()} - {".cache"} <= {"model.pth", "model.pth.lock"}
    number = len(internet.asked)
    download(address, target, sha256=sha256(CONTENT))
    assert len(internet.asked) == number


def test_small_files_of_google_drive_come_without_a_page(internet, target):
    internet.files["gdrive:small"] = Served(b"small", page=False)
    assert download("gdrive:small", target).read_bytes() == b"small"


def test_redirects_are_followed(internet, target):
    internet.files[PLAIN] = Served(redirect="https://storage.example.net/x")
    internet.files["https://storage.example.net/x"] = Served(CONTENT)
    assert download(PLAIN, target).read_bytes() == CONTENT


@pytest.mark.parametrize("address", [ADDRESSES[0], PLAIN])
def test_a_cut_connection_is_taken_up_where_it_broke(internet, target, address):
    internet.files[address] = Served(CONTENT, cuts=[1_500_000, 700_000])
    assert download(address, target).read_bytes() == CONTENT
    spans = [span for span in internet.gets("") if span]
    # Only whole pieces were written: two of the first request, one of the second.
    assert spans == [f"bytes={2 * PIECE}-", f"bytes={3 * PIECE}-"]


def test_a_cut_connection_to_the_hub_is_taken_up(internet, target):
    # Its library writes pieces of 10 MiB.
    content = CONTENT * 8
    internet.files[ADDRESSES[1]] = Served(content, cuts=[21_000_000])
    assert download(ADDRESSES[1], target).read_bytes() == content
    assert f"bytes={20 << 20}-" in internet.gets("resolve")


@pytest.mark.parametrize("address", [ADDRESSES[0], PLAIN])
def test_the_next_call_continues_a_download_that_was_given_up(internet, target, address):
    served = internet.files[address] = Served(CONTENT, cuts=[900_000] + [0] * module.RETRIES)
    with pytest.raises(DownloadError, match="cannot be fetched.*continues where it stopped"):
        download(address, target)
    assert not target.exists() and not served.cuts
    internet.asked.clear()
    assert download(address, target).read_bytes() == CONTENT
    assert f"bytes={PIECE}-" in internet.gets("")


def test_a_server_that_cannot_continue_sends_the_file_again(internet, target):
    internet.files[PLAIN] = Served(CONTENT, ranges=False, cuts=[1_000_000])
    assert download(PLAIN, target).read_bytes() == CONTENT


def test_a_file_that_changed_between_two_calls_is_not_mixed(internet, target):
    internet.files[PLAIN] = Served(CONTENT, cuts=[900_000] + [0] * module.RETRIES)
    with pytest.raises(DownloadError):
        download(PLAIN, target)
    internet.files[PLAIN] = Served(CONTENT[::-1])
    assert download(PLAIN, target).read_bytes() == CONTENT[::-1]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(internet, target):
    internet.files[PLAIN] = Served(CONTENT, statuses=[503, 429])
    assert download(PLAIN, target).read_bytes() == CONTENT
    internet.asked.clear()
    with pytest.raises(DownloadError, match=r"^https://example\.org/none: the server answers 404 Not Found\. Check"):
        download("https://example.org/none", target.with_name("none"))
    assert len(internet.gets("none")) == 1


@pytest.mark.parametrize("announced", [len(CONTENT) + 1000, len(CONTENT) - 1000])
@pytest.mark.parametrize("address", [ADDRESSES[0], PLAIN])
def test_a_wrong_length_is_not_a_file(internet, target, address, announced):
    internet.files[address] = Served(CONTENT, announced=announced)
    if announced > len(CONTENT):
        with pytest.raises(DownloadError, match="cannot be fetched"):
            download(address, target)
    else:
        # A client reads as many bytes as are announced; only the hash can tell.
        with pytest.raises(DownloadError, match=sha256(CONTENT)):
            download(address, target, sha256=sha256(CONTENT))
    assert not target.exists()


def test_a_server_that_drips_is_waited_for_and_one_that_stalls_is_not(internet, target, monkeypatch):
    # The whole file takes longer than the timeout, each pause much less.
    monkeypatch.setattr(module, "TIMEOUT", (60.0, 4.0))
    internet.files[PLAIN] = Served(CONTENT[:40], piece=4, pause=0.5)
    assert download(PLAIN, target).read_bytes() == CONTENT[:40]
    monkeypatch.setattr(module, "TIMEOUT", (60.0, 0.3))
    monkeypatch.setattr(module, "RETRIES", 1)
    stalled = PLAIN + "2"
    internet.files[stalled] = Served(CONTENT[:40], piece=4, pause=3.0)
    with pytest.raises(DownloadError, match="cannot be fetched.*[Tt]imed out"):
        download(stalled, target.with_name("stalled"))


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html></html>",
        b"\xef\xbb\xbf\n <html lang=en>",
        b"<!-- login -->\n<!doctype HTML>",
        b'<?xml version="1.0"?><html xmlns="x">',
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"<!-- one --><!-- two --><title>Log in</title>",
        b"<script>location = 'login'</script>",
        "<!DOCTYPE html>".encode("utf-16"),
        "\ufeff<!DOCTYPE html>".encode("utf-16-be"),
    ],
)
def test_a_web_page_is_not_a_file(internet, target, page):
    internet.files[PLAIN] = Served(page, kind="text/html")
    with pytest.raises(DownloadError, match="sent a web page in place of the file"):
        download(PLAIN, target)
    assert not target.exists()


def test_weights_that_begin_like_a_tag_are_no_page(internet, target):
    """The first bytes of a safetensors file are the length of its header; 15,392 is a blank and <."""
    content = (15_392).to_bytes(8, "little") + b"{" + b" " * 15_391
    internet.files[PLAIN] = Served(content)
    assert download(PLAIN, target).read_bytes() == content


def test_a_login_page_in_place_of_the_hub(internet, tmp_path, monkeypatch):
    monkeypatch.setattr(_Handler, "_hub", lambda self, body: self._page("<html>Log in</html>", body))
    with pytest.raises(DownloadError, match=r"hf:user/model: cannot be fetched .*network asks you to log in"):
        download_repository("user/model", tmp_path / "folder")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf:user/-model/file", r"is no name of a repository \(Repo id must use .*\). Write USER/REPOSITORY$"),
        ("https://[::1/file", r"cannot be fetched \(Invalid IPv6 URL\). Check how it is written$"),
        ("https:///file", r"is no address \(.*\). Check how it is written$"),
        ("hf:user/model/../file", r"cannot be fetched \(.*\). Check how it is written$"),
    ],
)
def test_a_wrong_address_is_no_matter_of_the_network(internet, target, address, words):
    """A proxy or another try does not help where the address is wrong."""
    if address.endswith("../file"):
        internet.files[address] = Served(CONTENT)
    with pytest.raises(DownloadError, match="^" + re.escape(address) + ": " + words) as raised:
        download(address, target)
    assert "network" not in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("error", [RuntimeError("xet"), UnicodeDecodeError("utf-8", b"", 0, 1, "page")])
def test_what_networks_send_in_place_of_an_answer(error):
    words = "hf:a/b: cannot be fetched .*whether the network asks"
    with pytest.raises(DownloadError, match=words), one_line("hf:a/b"):
        raise error


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "RepoNotFound", "401 .*log in with `hf auth login`"),
        (403, "GatedRepo", "403 .*Accept the terms first.*log in with `hf auth login`"),
        (404, "RepoNotFound", "404 .*Check the name"),
    ],
)
def test_repositories_that_are_not_open(internet, tmp_path, monkeypatch, status, code, words):
    headers = {"X-Error-Code": code, "X-Error-Message": "Accept the terms first"}
    monkeypatch.setattr(_Handler, "_hub", lambda self, body: self._page("", body, status, headers))
    with pytest.raises(DownloadError, match=rf"the Hub answers {words}") as raised:
        download_repository("user/model", tmp_path / "folder")
    assert "\n" not in str(raised.value)


def test_an_empty_file_is_refused(internet, target):
    internet.files[PLAIN] = Served(b"")
    with pytest.raises(DownloadError, match="sent an empty file"):
        download(PLAIN, target)


def test_google_drive_without_quota_says_so_in_one_line(internet, target):
    internet.files["gdrive:full"] = Served(CONTENT, quota=True)
    with pytest.raises(DownloadError) as caught:
        download("gdrive:full", target)
    assert str(caught.value) == (
        "gdrive:full: Google Drive does not give the file: Too many users have viewed or downloaded this file "
        "recently. Try again tomorrow, or fetch https://drive.google.com/uc?id=full in a browser "
        "(`egtr models get NAME --file FILE`)"
    )


@pytest.mark.parametrize("address", ["gdrive:none", "hf:user/model/none", "hf:none/none/none"])
def test_a_missing_file_is_one_line(internet, target, address):
    internet.files["hf:user/model/other"] = Served(CONTENT)
    with pytest.raises(DownloadError) as caught:
        download(address, target)
    assert str(caught.value).startswith(f"{address}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_given_hash_that_differs_is_refused_with_both(internet, target, address):
    internet.files[address] = Served(CONTENT)
    with pytest.raises(DownloadError, match=f"SHA-256 {sha256(CONTENT)}, but {'0' * 64} is known.*update egtr"):
        download(address, target, sha256="0" * 64)
    assert not target.exists()
    assert download(address, target).exists()


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_unknown_hash_is_recorded_and_checked_from_then_on(internet, target, home, address):
    internet.files[address] = Served(CONTENT)
    download(address, target)
    assert json.loads((home / "hashes.json").read_text()) == {address: sha256(CONTENT)}
    target.unlink()
    changed = CONTENT[:-1] + b"!"
    internet.files[address] = Served(changed)
    with pytest.raises(DownloadError, match=f"{sha256(changed)}, but had {sha256(CONTENT)}.*delete the line"):
        download(address, target)
    assert not target.exists()
    (home / "hashes.json").unlink()
    assert download(address, target).read_bytes() == changed


def test_a_file_that_changed_here_is_refused(internet, target):
    internet.files[PLAIN] = Served(CONTENT)
    download(PLAIN, target)
    target.write_bytes(b"other")
    with pytest.raises(DownloadError, match="but had"):
        download(PLAIN, target)


def test_another_size_than_the_known_one_ends_before_the_download(internet, target):
    internet.files[PLAIN] = Served(CONTENT)
    with pytest.raises(DownloadError, match="announces 3,072,000 bytes, but the file is known to have 10"):
        download(PLAIN, target, size=10)
    internet.files[ADDRESSES[1]] = Served(CONTENT)
    with pytest.raises(DownloadError, match="has 3,072,000 bytes, but is known to have 10"):
        download(ADDRESSES[1], target, size=10)


def test_a_full_disk_is_noticed_before_the_download(internet, target, monkeypatch):
    internet.files[PLAIN] = Served(CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(WriteError, match="3 MB are still to come, but 1 MB are free.*EGTR_HOME"):
        download(PLAIN, target)


@pytest.mark.parametrize("variable", ["EGTR_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_what_is_here_is_used(internet, target, monkeypatch, variable):
    internet.files[PLAIN] = Served(CONTENT)
    download(PLAIN, target)
    internet.asked.clear()
    monkeypatch.setenv(variable, "1")
    assert download(PLAIN, target) == target
    for fetch in (download, find_size):
        with pytest.raises(DownloadError, match=f"is not here, and {variable} forbids to download it"):
            fetch(ADDRESSES[0], target.with_name("other"))
    assert not internet.asked


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_internet_there_is_one_clear_line(target, home, monkeypatch, address):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        # Nothing listens there.
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as caught:
        download(address, target)
    text = str(caught.value)
    assert text.startswith(f"{address}: cannot be fetched (") and "\n" not in text and len(text) < 400
    assert "object at 0x" not in text and not target.exists()


def test_two_that_want_the_same_file_download_it_once(internet, target):
    internet.files[PLAIN] = Served(CONTENT, piece=500_000, pause=0.05)
    threads = [threading.Thread(target=download, args=(PLAIN, target)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT and len(internet.gets("model.pth")) == 1


FETCH = "import sys; from egtr.hub.download import download; download(*sys.argv[1:])"


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_that_want_the_same_file_download_it_once(internet, target):
    internet.files[PLAIN] = Served(CONTENT, piece=100_000, pause=0.05)
    runs = [start(PLAIN, target) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert target.read_bytes() == CONTENT and len(internet.gets("model.pth")) == 1


@pytest.mark.parametrize("address", [ADDRESSES[0], PLAIN])
def test_a_process_that_is_killed_leaves_no_file_and_the_next_one_continues(internet, target, address):
    served = internet.files[address] = Served(CONTENT, pause=0.1)
    run = start(address, target)
    parts = target.with_name("model.pth.download")
    while run.poll() is None and sum(part.stat().st_size for part in parts.glob("*.part")) < PIECE:
        time.sleep(0.02)
    run.kill()
    run.communicate()
    assert not target.exists()
    served.pause = 0.0
    internet.asked.clear()
    assert download(address, target).read_bytes() == CONTENT
    assert any(span.startswith("bytes=") for span in internet.gets(""))


def test_a_repository_arrives_with_its_folders(internet, tmp_path):
    for name in ("config.json", "images/1.png", "README.md"):
        internet.files[f"hf:user/data/{name}"] = Served(name.encode())
    folder = download_repository("user/data", tmp_path / "data", kind="dataset", patterns=["*.json", "images/*"])
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert {name: text for name, text in files.items() if not name.startswith(".cache")} == {
        "config.json": "config.json",
        "images/1.png": "images/1.png",
    }


@pytest.mark.parametrize("address", ["ftp://x/y", "gdrive:", "gdrive:a b", "hf:user", "/etc/passwd", "vg150"])
def test_other_addresses_are_refused(home, target, address):
    with pytest.raises(DownloadError, match="is no address. Write gdrive:ID"):
        download(address, target)


def test_the_folder_of_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("EGTR_HOME", str(tmp_path / "mine"))
    assert get_home() == tmp_path / "mine"
    monkeypatch.delenv("EGTR_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert get_home() == tmp_path / "egtr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_home() == tmp_path / ".cache" / "egtr"


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_closed_folder_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WriteError, match="cannot be written.*EGTR_HOME"):
        download(PLAIN, tmp_path / "a" / "b")
