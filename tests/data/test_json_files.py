"""Files that lie where a dataset's JSON should be."""

import gzip

import pytest

from egtr.data.datasets._parsing import read_json
from egtr.structures import DataError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file. Was the download or copy cut short"),
        (gzip.compress(b"{}", mtime=0), "is a gzip archive, not a JSON file. Unpack it"),
        (b"PK\x03\x04rest", "is a zip archive, not a JSON file. Unpack it"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, not a JSON file. Name the annotations"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "is a Git LFS pointer: .*git lfs pull"),
        (b"\n<!DOCTYPE html><html><head>", "is a web page .*Download the file itself"),
        ('{"a": "\xe9"}'.encode("latin-1"), "is not a JSON file in UTF-8 or UTF-16 .*Save it as UTF-8"),
        (b'{"images": [', "is not a JSON file .*cut short"),
    ],
)
def test_the_message_names_what_it_is(content, message, tmp_path):
    file = tmp_path / "train.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"train.json: {message}"):
        read_json(str(file))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_are_read(encoding, tmp_path):
    file = tmp_path / "train.json"
    file.write_text('{"name": "é"}', encoding=encoding)
    assert read_json(str(file)) == {"name": "é"}
