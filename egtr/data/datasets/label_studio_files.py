"""The images of a Label Studio export, which knows only an address, or the name of a copy of your file."""

import os
import re
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
    - Other addresses: the last part; in a folder, also with the parts before it.

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

    def find(self, data: Any) -> str:
        """Find the name of the image, with "/" between folders.

        Raises:
            DataError: the task names no image, or one that is outside of the folder or missing in it.
        """
        reference = _reference(data)
        names = _candidates(reference)
        if not self.image_root:
            return names[0]
        found = next((name for name in names if os.path.isfile(os.path.join(self.image_root, name))), None)
        found = found or self._stored.get(names[0])
        if found is None:
            raise DataError(f"{reference!r} is not in {self.image_root}; looked for {' and '.join(names)}")
        return found


def _reference(data: Any) -> str:
    texts = {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}
    if "image" in texts:
        return texts["image"]
    images = [text for text in texts.values() if text.lower().partition("?")[0].endswith(IMAGE_SUFFIXES)]
    if len(images) != 1:
        raise DataError(f'field "data" has neither "image" nor exactly one name of an image: {sorted(texts)}')
    return images[0]


def _candidates(reference: str) -> list[str]:
    """List the names to look for, the likeliest first."""
    try:
        url = urlsplit(reference)
    except ValueError as error:
        raise DataError(f"{reference!r} is no address ({error})") from error
    local = parse_qs(url.query).get("d")
    path = (local[0] if local else unquote(url.path)).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path:
        raise DataError(f"{reference!r} names no image inside a folder")
    if local:
        return ["/".join(parts[k:]) for k in range(len(parts))]
    if "upload" in parts[:-1] and UPLOAD_PREFIX.match(parts[-1]):
        return [UPLOAD_PREFIX.sub("", parts[-1]), parts[-1]]
    return ["/".join(parts[k:]) for k in reversed(range(len(parts)))]


def _name_in_storage(name: str) -> str:
    """Change the name of a file as Label Studio does when it is uploaded."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
