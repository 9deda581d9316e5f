"""Files that are written whole or not at all. tests/checkpoint/test_files.py kills the process and fills the disk."""

import errno

import pytest

from egtr.structures import WriteError
from egtr.structures.files import PART, replacing, writing


@pytest.mark.parametrize("shared", [False, True])
def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path, shared):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path, shared=shared) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (part,) = set(tmp_path.iterdir()) - {path}
        assert part.read_bytes() == b"new" and part.name.endswith(PART)
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="half"), replacing(path) as file:
        file.write(b"new")
        raise ValueError("half")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_of_a_shared_file_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with replacing(path, shared=True) as first:
        with replacing(path, shared=True) as second:
            first.write(b"first, and longer")
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first, and longer" and list(tmp_path.iterdir()) == [path]


def test_an_error_of_writing_names_the_file_and_the_reason(tmp_path):
    with pytest.raises(WriteError, match=r"of the user: cannot be written \(No space left on device\); name a place"):
        with writing("a file of the user"):
            raise OSError(errno.ENOSPC, "No space left on device")
    with writing(tmp_path / "file"):
        (tmp_path / "file").write_bytes(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
