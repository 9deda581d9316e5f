"""The images that models remember, so that a correction of boxes does not send and encode the image again."""

import secrets
from collections import OrderedDict
from typing import Any, NamedTuple

from .errors import RefusedError


class Remembered(NamedTuple):
    """An image that a model remembers.

    Attributes:
        memory: an object with ``graph`` and ``relate()``, such as :class:`egtr.inference.remembered.RememberedImage`.
        name: the name of the uploaded file, or None.
    """

    memory: Any
    name: str | None


class RememberedImages:
    """The images that were used last; older ones are forgotten. Only one thread at a time may use it.

    Args:
        most: number of images.
    """

    def __init__(self, most: int):
        self._most = most
        self._images: OrderedDict[str, Remembered] = OrderedDict()

    def keep(self, image: Remembered) -> str:
        """Keep an image, and return its id, which cannot be guessed."""
        key = secrets.token_urlsafe()
        self._images[key] = image
        while len(self._images) > self._most:
            self._images.popitem(last=False)
        return key

    def find(self, key: str) -> Remembered:
        """Return an image.

        Raises:
            RefusedError: 410, it has been forgotten, or there was none.
        """
        if key not in self._images:
            raise RefusedError(410, "the server does not remember this image (any more); send it again")
        self._images.move_to_end(key)
        return self._images[key]
