"""Helpers of the tests of exported pages."""

import io
from typing import Any

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray | Image.Image, format: str = "PNG", **options) -> bytes:
    """An image as a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def rows(record: dict[str, Any]) -> list[tuple]:
    """The relations of a graph, without their scores."""
    return [(row["subject"], row["predicate"], row["object"], row["queries"]) for row in record["relations"]]
