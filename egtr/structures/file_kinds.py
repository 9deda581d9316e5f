"""Kinds of files that arrive in place of the wanted one: a pointer, a web page, an archive, an image."""

import codecs

BEGINNINGS = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}
_PAGES = ("<!doctype html", "<html")


def is_lfs_pointer(text: str) -> bool:
    """Tell whether a text stands for a large file of a Git repository that was not fetched."""
    return text.startswith("version https://git-lfs")


def is_page(text: str) -> bool:
    """Tell whether a text is a web page."""
    return any(tag in text.lower() for tag in _PAGES)


def find_beginning(head: bytes) -> str | None:
    """Name the kind of a binary file by its first bytes, or return None."""
    return next((what for beginning, what in BEGINNINGS.items() if head.startswith(beginning)), None)


def read_text(head: bytes) -> str:
    """Return the beginning of a text file without leading blanks; "" if it is no text."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        # The last character may be cut in two.
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return ""
    return text.strip() if all(letter.isprintable() or letter.isspace() for letter in text) else ""
