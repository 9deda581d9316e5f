"""Files that were given as weights and are something else: one line says what they are."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from torch import nn

from egtr.checkpoint import EGTRCheckpointer, load_checkpoint_file, load_reference
from egtr.cli import main
from egtr.structures import WeightsError
from tests.checkpoint.artifacts import write_artifact

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 123\n"


def make_zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return file.getvalue()


def make_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return file.getvalue()


def make_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, weight=np.zeros(2))
    return file.getvalue()


def make_script() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"model/{name}", "content")
    return file.getvalue()


FILES = {
    "pointer": (POINTER, r"is a Git LFS pointer.*`git lfs pull`"),
    "page": (b"<!DOCTYPE html><html>Not found</html>", r"is a web page \(HTML\), not weights"),
    "page of utf-8 with a mark": (b"\xef\xbb\xbf\r\n<HTML lang='en'>", r"is a web page \(HTML\)"),
    "page with a comment": (b"<!-- saved -->\n<!doctype HTML>", r"is a web page \(HTML\)"),
    "page of utf-16": ("<html>é</html>".encode("utf-16"), r"is a web page \(HTML\)"),
    "page cut inside a letter": (b"<html>" + "é".encode() * 400, r"is a web page \(HTML\)"),
    "error of a server": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>',
        "is a text file.*begins with '<.xml",
    ),
    "json": (b'{"error": "Repository not found"}', 'is a text file, not weights; it begins with \'{"error"'),
    "path": (b"../../.git/annex/objects/3f/model.pth\n", "is a text file, not weights"),
    "nothing": (b"", "is an empty file, not weights"),
    "zip": (make_zip("a.txt", "b/c.txt", "d", "e"), r"a zip archive of other files \(a\.txt, b/c\.txt, d, \.\.\.\)"),
    "npz": (make_npz(), r"a zip archive of other files \(weight\.npy\)"),
    "no files": (make_zip(), "an empty zip archive"),
    "script": (make_script(), r"a TorchScript program.*model\.state_dict\(\)"),
    "gzip": (gzip.compress(b"weights"), "a gzip archive, not weights. Unpack it"),
    "tar": (make_tar(), "a tar archive, not weights. Unpack it"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "image": (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    "array": (b"\x93NUMPY\x01\x00", "an array of NumPy"),
}


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".pyth", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("kind", FILES)
def test_one_line_says_what_it_is(tmp_path, kind, suffix):
    content, message = FILES[kind]
    if suffix == ".pkl" and "text file" in message:
        # The oldest pickles are text.
        message = "not a pickle of arrays"
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights\{suffix}: .*{message}") as caught:
        EGTRCheckpointer(nn.Linear(2, 2)).load(str(path))
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pointer", "page", "nothing", "zip", "gzip"])
@pytest.mark.parametrize("name", ["model.safetensors", "checkpoints/epoch=03-validation_loss=1.25.ckpt"])
def test_in_a_released_folder(tmp_path, kind, name):
    write_artifact(tmp_path, {}, {}).unlink()
    content, message = FILES[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_reference(tmp_path)


def test_no_command_advises_unsafe_reading(tmp_path, capsys):
    (tmp_path / "lfs.pth").write_bytes(POINTER)
    assert main(["export", str(tmp_path / "lfs.pth"), "--output", str(tmp_path / "out.pth")]) == 1
    printed = capsys.readouterr().err
    assert "is a Git LFS pointer" in printed and "weights_only" not in printed and "Traceback" not in printed


def test_noise_is_no_weights(tmp_path):
    """Bytes of no known format: torch's own reason, without its advice."""
    for seed in range(20):
        content = np.random.RandomState(seed).bytes(1000)
        for suffix in (".pth", ".safetensors", ".ckpt"):
            path = tmp_path / f"noise{suffix}"
            path.write_bytes(content)
            with pytest.raises(WeightsError, match=rf"noise\{suffix}") as caught:
                load_checkpoint_file(str(path))
            assert "weights_only" not in str(caught.value)
