"""The installer of Detectron2, on archives made here: no network, and nothing is installed."""

import base64
import csv
import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "tools/setup/install_detectron2.py"


@pytest.fixture
def installer():
    spec = importlib.util.spec_from_file_location("install_detectron2", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path, installer, monkeypatch):
    """Looks like the downloaded wheel, and is taken for it."""
    path = tmp_path / "sal_detectron2-0.7.2-cp310-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, fixes in installer.FIXES.items():
            file.writestr(f"detectron2/{name}", "\n".join(old for old, _ in fixes))
        file.writestr("detectron2/model_zoo/configs/Base.yaml", "A: 1\n")
        file.writestr("detectron2/_C.so", "compiled")
        file.writestr("sal_detectron2-0.7.2.dist-info/LICENSE", "licence")
        file.writestr("sal_detectron2-0.7.2.dist-info/METADATA", "Name: sal-detectron2\n")
    monkeypatch.setattr(installer, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_leaves_an_existing_detectron2_alone(installer, monkeypatch, capsys):
    def never(*arguments):
        raise AssertionError(f"pip was called: {arguments}")

    monkeypatch.setattr(installer, "pip", never)
    installer.main([])
    assert "left alone what is there: detectron2" in capsys.readouterr().out


def test_repacked_wheel_is_pure_complete_and_repeatable(installer, archive, tmp_path):
    installer.main(["--archive", str(archive), "--wheel-dir", str(tmp_path / "one")])
    installer.main(["--archive", str(archive), "--wheel-dir", str(tmp_path / "two")])
    (wheel,), (again,) = (list((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert wheel.name == f"detectron2-{installer.VERSION}-py3-none-any.whl"
    assert wheel.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(wheel) as file:
        content = {name: file.read(name) for name in file.namelist()}
    info = f"detectron2-{installer.VERSION}.dist-info"
    assert "detectron2/_C.so" not in content
    assert content[f"{info}/licenses/LICENSE"] == b"licence"
    assert b"Root-Is-Purelib: true" in content[f"{info}/WHEEL"]
    metadata = content[f"{info}/METADATA"].decode()
    assert "Name: detectron2\n" in metadata and "Requires-Dist: fvcore>=0.1.5,<0.1.6\n" in metadata
    for name, fixes in installer.FIXES.items():
        assert content[f"detectron2/{name}"].decode() == "\n".join(new for _, new in fixes)
    # RECORD names every file with its hash and size, itself without: pip refuses anything else.
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(content[f"{info}/RECORD"].decode()))}
    assert rows.pop(f"{info}/RECORD") == ["", ""]
    assert set(rows) == set(content) - {f"{info}/RECORD"}
    for name, (digest, size) in rows.items():
        expected = base64.urlsafe_b64encode(hashlib.sha256(content[name]).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={expected}", len(content[name]))


def test_installs_the_repacked_wheel_alone(installer, archive, monkeypatch):
    calls = []
    monkeypatch.setattr(installer, "pip", lambda *arguments: calls.append([*map(str, arguments)]) or 0)
    installer.main(["--force", "--archive", str(archive)])
    (call,) = calls
    assert call[:3] == ["install", "--no-deps", "--force-reinstall"]
    assert call[3].endswith(f"detectron2-{installer.VERSION}-py3-none-any.whl")


def test_another_file_is_refused(installer, archive, tmp_path):
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(SystemExit, match="(?s)SHA-256.*as tested has.*download it again"):
        installer.main(["--archive", str(archive), "--wheel-dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="missing.whl: there is no such file"):
        installer.main(["--archive", str(tmp_path / "missing.whl"), "--force"])
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_unexpected_content_is_refused(installer, tmp_path):
    path = tmp_path / "other.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("detectron2/__init__.py", '__version__ = "0.9"')
    with pytest.raises(SystemExit, match="detectron2/__init__.py does not contain"):
        installer.repack(path, tmp_path)


def test_failed_download_names_the_remedies(installer, tmp_path, monkeypatch):
    monkeypatch.setattr(installer, "pip", lambda *arguments: 1)
    with pytest.raises(SystemExit, match="(?s)could not be downloaded.*network.*--archive FILE"):
        installer.download(tmp_path)
    requirement = (tmp_path / "requirements.txt").read_text()
    assert requirement == f"{installer.SOURCE} --hash=sha256:{installer.SHA256}\n"
