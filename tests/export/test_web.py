"""The folder of a model for the browser: what is in it, and what is refused."""

import os
import re
import stat
import subprocess

import pytest

from egtr.cli import main
from egtr.export import export_web, fetch_runtime
from egtr.export.web import INTEGRITY, PACKAGE, VERSION, Runtime
from egtr.lite import LitePredictor
from egtr.structures import ConfigurationError, DownloadError, WeightsError, WriteError
from egtr.visualization.report import to_json
from tests.lite.test_predictor import write_model
from tests.running import largest_file

REMEDY = f"npm pack {PACKAGE}@{VERSION}"
RUNTIME = Runtime(b"script", b"wasm")


def fake_npm(folder, monkeypatch, script):
    """Put a program in place of npm, and of everything else that is on the path."""
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_what_is_in_the_folder(tmp_path):
    model, folder = write_model(tmp_path / "mine.onnx"), tmp_path / "deep" / "site"
    size = export_web(model, folder, RUNTIME)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(found) == [
        "index.html",
        "model.onnx",
        "onnxruntime-web/LICENSE.txt",
        "onnxruntime-web/ThirdPartyNotices.txt",
        "onnxruntime-web/ort.js",
        "onnxruntime-web/ort.wasm",
        "vis-network.LICENSE.txt",
    ]
    assert size == sum(map(len, found.values()))
    assert found["model.onnx"] == model.read_bytes()
    assert (found["onnxruntime-web/ort.js"], found["onnxruntime-web/ort.wasm"]) == (b"script", b"wasm")
    assert found["onnxruntime-web/LICENSE.txt"].startswith(b"MIT License")
    page = found["index.html"].decode()
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy == (
        "default-src 'none'; img-src data: blob:; media-src blob:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline' 'self' 'wasm-unsafe-eval' blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert export_web(model, folder, RUNTIME) == size  # again, over what is there


def test_a_model_that_cannot_be_read_and_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing\.onnx: there is no such file"):
        export_web(tmp_path / "nothing.onnx", tmp_path / "site", RUNTIME)
    with pytest.raises(WeightsError, match="lacks the metadata model_info"):
        export_web(write_model(tmp_path / "foreign.onnx", None), tmp_path / "site", RUNTIME)
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file/index\.html: cannot be written \(.*\); name a place"):
        export_web(write_model(tmp_path / "model.onnx"), tmp_path / "file", RUNTIME)
    assert not (tmp_path / "site").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no sizes of files")
def test_a_full_disk_leaves_the_former_files(tmp_path):
    model, folder = write_model(tmp_path / "model.onnx"), tmp_path / "site"
    export_web(model, folder, Runtime(b"old", b"old"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with largest_file(2**20), pytest.raises(WriteError, match=r"ort\.wasm: cannot be written .*too large"):
        export_web(model, folder, Runtime(b"new", b"new" * 2**20))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_npm_fetches_what_the_file_holds(runtime_package):
    fetched = fetch_runtime()
    assert fetched == fetch_runtime(runtime_package)
    assert f"ONNX Runtime Web v{VERSION}".encode() in fetched.script[:200]
    assert fetched.wasm.startswith(b"\0asm")


def test_without_npm_one_error_names_both_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        fetch_runtime()
    assert str(caught.value) == (
        f"npm is missing, which fetches {PACKAGE}@{VERSION}: install Node.js, or run {REMEDY} on another machine and "
        "give its file with --runtime FILE.tgz"
    )


@pytest.mark.skipif(os.name == "nt", reason="the program in place of npm is a shell script")
def test_npm_that_fails_and_npm_that_brings_something_else(tmp_path, monkeypatch):
    fake_npm(tmp_path, monkeypatch, "echo >&2; echo 'npm error code ENOTFOUND' >&2; exit 1")
    with pytest.raises(
        DownloadError, match=r"npm cannot fetch it \(npm error code ENOTFOUND\); .*--runtime FILE\.tgz"
    ):
        fetch_runtime()
    fake_npm(tmp_path, monkeypatch, "echo changed > changed.tgz")
    with pytest.raises(
        DownloadError, match="of npm: is not onnxruntime-web@.* as it was published: its hash is sha512-"
    ):
        fetch_runtime()
    fake_npm(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(DownloadError, match=r"npm cannot fetch it \(status 0\)"):
        fetch_runtime()


def test_npm_that_does_not_answer(monkeypatch):
    def wait(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", wait)
    with pytest.raises(DownloadError, match="npm did not fetch it within 600 s; try again, or give the file"):
        fetch_runtime()


def test_a_file_that_is_not_the_package(tmp_path):
    (tmp_path / "empty.tgz").touch()
    # The hash of nothing, as sha512sum prints it, in base64.
    nothing = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
    with pytest.raises(
        DownloadError, match=re.escape(f"its hash is {nothing}, not {INTEGRITY}. Fetch it again with")
    ):
        fetch_runtime(tmp_path / "empty.tgz")
    for name, reason in (("gone.tgz", "No such file"), ("", "directory|denied")):
        with pytest.raises(DownloadError, match=rf"cannot be read \(.*({reason}).*\); give the file of {REMEDY}"):
            fetch_runtime(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "web"], "give --output FOLDER"),
        (["--format", "web", "--output", "{file}"], "give --output FOLDER"),
        (["a.pth", "--format", "web", "--output", "site"], "takes one .onnx file, or --model"),
        (["a.onnx", "b.onnx", "--format", "web", "--output", "site"], "takes one .onnx file, or --model"),
        (["a.onnx", "--model", "scenes", "--format", "web", "--output", "site"], "a.onnx: is exported already"),
        (["--format", "web", "--output", "site", "--int8", "--calibrate", "x"], "and to --format openvino"),
        (["--model", "scenes", "--output", "a.onnx", "--runtime", "a.tgz"], "--runtime belongs to --format web"),
    ],
)
def test_arguments_that_do_not_fit(words, message, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        main(["export", *(word.format(file=tmp_path / "file") for word in words)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_nothing_is_exported_before_the_runtime_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["export", "--model", "scenes", "--format", "web", "--output", str(tmp_path / "site")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("egtr export: error: npm is missing") and not (tmp_path / "site").exists()


def test_the_command_with_an_exported_file(runtime_package, tmp_path, capsys):
    model, site = write_model(tmp_path / "mine.onnx"), tmp_path / "site"
    words = [str(model), "--format", "web", "--output", str(site), "--runtime", str(runtime_package)]
    assert main(["export", *words]) == 0
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert capsys.readouterr().out == (
        f"{site}: {size / 1e6:.2f} MB. Look at it: python -m http.server --directory {site}\n"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_command_with_the_name_of_a_model(runtime_package, tmp_path, capsys):
    site = tmp_path / "site"
    words = [
        "--model",
        "scenes",
        "--half",
        "--format",
        "web",
        "--output",
        str(site),
        "--runtime",
        str(runtime_package),
    ]
    assert main(["export", *words]) == 0
    out = capsys.readouterr().out
    assert "largest difference to PyTorch" in out and f"{site}: " in out
    record = LitePredictor(site / "model.onnx").info.to_dict()
    assert record["name"] == "scenes" and to_json(record) in (site / "index.html").read_text("utf-8")
