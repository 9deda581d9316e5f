"""Files that people, and others, send to a server."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, format: str, **options) -> bytes:
    """Pixels, (H, W, 3) uint8, as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (height, width, 3), dtype=np.uint8)


def empty_png(height: int, width: int) -> bytes:
    """A PNG that says how large it is, and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
