"""Files that were given as weights and are something else: a pointer, a web page, an archive, an image."""

import zipfile
from pathlib import Path

from egtr.structures import WeightsError
from egtr.structures.file_kinds import find_beginning, is_lfs_pointer, is_page, read_text

ZIP_MAGIC = b"PK\x03\x04"
_FETCH = "Download or copy the file of the weights itself"
_UNPACK = "Unpack it, and name the file of the weights in it"


def refuse_foreign(path: str | Path, *, may_be_text: bool = False) -> None:
    """Refuse a file that cannot hold weights, and say what it is.

    Args:
        path: the file.
        may_be_text: whether weights may be plain text, as the oldest pickles are.

    Raises:
        WeightsError: it is empty, text, an archive, or a document or image.
    """
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise WeightsError(f"{path}: is an empty file, not weights. {_FETCH}")
    # Weights may be zip archives.
    what = None if head.startswith(ZIP_MAGIC) else find_beginning(head)
    if what is not None:
        raise WeightsError(f"{path}: is {what}, not weights. {_UNPACK if 'archive' in what else _FETCH}")
    if head[257:262] == b"ustar":
        raise WeightsError(f"{path}: is a tar archive, not weights. {_UNPACK}")
    if head.startswith(ZIP_MAGIC):
        _refuse_other_zip(path)
    text = read_text(head)
    if is_lfs_pointer(text):
        raise WeightsError(
            f"{path}: is a Git LFS pointer: text that stands for the weights, which were not fetched. Run "
            "`git lfs pull` in its folder, or download the file itself"
        )
    if is_page(text):
        raise WeightsError(
            f"{path}: is a web page (HTML), not weights. Servers send one in place of a file. {_FETCH}, by the "
            'address of its button "download"'
        )
    if text and not may_be_text:
        raise WeightsError(
            f"{path}: is a text file, not weights; it begins with {text.splitlines()[0][:60]!r}. {_FETCH}"
        )


def is_safetensors(path: str | Path) -> bool:
    """Return whether a file has the header of a safetensors file, whatever its name ends in."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        # A header of a million bytes names some 10,000 tensors.
        return 2 <= length <= min(100_000_000, Path(path).stat().st_size - 8) and file.read(1) == b"{"


def is_zip(path: str | Path) -> bool:
    """Return whether a file begins as a zip file does, which torch.save has written since torch 1.6."""
    with open(path, "rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def _refuse_other_zip(path: str | Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        # Damaged: who reads it says so.
        return
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        raise WeightsError(
            f"{path}: is a TorchScript program, not weights. Save the weights of the model that it was made of, as "
            "{'model': model.state_dict()}"
        )
    if "data.pkl" not in inner:
        held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise WeightsError(f"{path}: is a zip archive of other files ({held}), not weights. {_UNPACK}")
