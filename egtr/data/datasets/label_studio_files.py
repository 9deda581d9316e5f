"""The images of a Label Studio export, which knows only an address, or the name of a copy of your file."""

import os
import re
import unicodedata
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from egtr.structures import DataError

from ..image import IMAGE_SUFFIXES

# Label Studio puts this before the name of a file that is uploaded to it.
UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")


class ImageFinder:
    """Turns ``data`` of a task into the name of an image, relative to a folder. It never leads out of the folder.

    - Uploaded images (``/data/upload/1/0f6142fb-photo.jpg``): the eight hexadecimal digits and "-" are cut off. If
      there is a folder, a file may also have the name with them, or a name in which Label Studio replaced blanks by
      "_" and left out brackets and the like.
    - Local files (``/data/local-files/?d=shelf/photo.jpg``): the path after ``d=``; in a folder, also only its end.
    - Other addresses: the last part; in a folder, with as many of the parts before it as exist there.

    In a folder, letters with accents are found in both forms of Unicode.

    Args:
        image_root: folder in which the image must exist; "": nothing is looked up, and the first name is taken.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, image_root: str):
        self.image_root = image_root
        if image_root and not os.path.isdir(image_root):
            raise DataError(f"{image_root}: there is no such folder of images (--image-root).")
        self._stored = {_name_in_storage(name): name for name in os.listdir(image_root)} if image_root else {}
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, data: Any) -> str:
        """Find the name of the image, with "/" between folders.

        Raises:
            DataError: the task names no image, or one that is outside of the folder or missing in it.
        """
        reference = data[image_field(data)]
        kind, names = _candidates(reference)
        likeliest = names[-1] if kind == "address" else names[0]
        if not self.image_root:
            return likeliest
        found = next(filter(None, map(self._look_up, names)), None)
        found = found or self._stored.get(_nfc(likeliest))
        if found is None:
            raise DataError(f"{reference!r} is not in {self.image_root}; looked for {' and '.join(names)}")
        return found

    def is_guess(self, data: Any, found: str) -> bool:
        """Check whether only the last part of a path was found, in a folder of another name than in the path."""
        kind, names = _candidates(data[image_field(data)])
        folders = names[0].split("/")[:-1]
        if kind != "local" or not self.image_root or not folders or "/" in found:
            return False
        return folders[-1] != os.path.basename(os.path.abspath(self.image_root))

    def _look_up(self, name: str) -> str | None:
        """Find a file by its name, or by the same letters in the other form of Unicode."""
        if os.path.isfile(os.path.join(self.image_root, name)):
            return name
        if name.isascii():
            return None
        found = ""
        for part in name.split("/"):
            folder = os.path.join(self.image_root, found)
            if folder not in self._listed:
                entries = os.listdir(folder) if os.path.isdir(folder) else []
                self._listed[folder] = {_nfc(entry): entry for entry in entries}
            part = self._listed[folder].get(_nfc(part))
            if part is None:
                return None
            found = os.path.join(found, part)
        return found if os.path.isfile(os.path.join(self.image_root, found)) else None


def image_fields(data: Any) -> list[str]:
    """List the fields of ``data`` that hold the name or address of an image: "image" first."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    images = [key for key, text in texts.items() if text.lower().partition("?")[0].endswith(IMAGE_SUFFIXES)]
    return ["image", *(key for key in images if key != "image")] if "image" in texts else images


def image_field(data: Any) -> str:
    """Return the field of ``data`` that names the image of a task.

    Raises:
        DataError: it has no field "image", and not exactly one other name of an image.
    """
    fields = image_fields(data)
    if fields[:1] != ["image"] and len(fields) != 1:
        known = sorted(data) if isinstance(data, dict) else data
        raise DataError(f'field "data" has neither "image" nor exactly one name of an image: {known}')
    return fields[0]


def _candidates(reference: str) -> tuple[str, list[str]]:
    """Return "local", "upload" or "address", and the names to look for, the most exact ones first."""
    try:
        url = urlsplit(reference)
    except ValueError as error:
        raise DataError(f"{reference!r} is no address ({error})") from error
    local = parse_qs(url.query).get("d")
    path = (local[0] if local else unquote(url.path)).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path:
        raise DataError(f"{reference!r} names no image inside a folder")
    if "upload" in parts[:-1] and UPLOAD_PREFIX.match(parts[-1]) and not local:
        return "upload", [UPLOAD_PREFIX.sub("", parts[-1]), parts[-1]]
    names = ["/".join(parts[k:]) for k in range(len(parts))]
    if local and "+" in url.query:
        # Some tools leave the plus signs of a name as they are.
        literal = parse_qs(url.query.replace("+", "%2B"))["d"][0].replace("\\", "/")
        parts = [part for part in literal.split("/") if part not in ("", ".")]
        names += ["/".join(parts[k:]) for k in range(len(parts))]
    return "local" if local else "address", names


def _name_in_storage(name: str) -> str:
    """Change the name of a file as Label Studio does when it is uploaded."""
    return re.sub(r"[^-\w.]", "", _nfc(name).strip().replace(" ", "_"))


def _nfc(name: str) -> str:
    """Compose letters and accents, which some systems keep apart in names of files."""
    return unicodedata.normalize("NFC", name)
