"""Real files that are damaged in all the ways that files are."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 48, 64
PIXELS = np.random.RandomState(0).randint(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file: all that it takes to claim any size."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\1IDAT"
    )


def write_damaged(folder: Path) -> dict[str, str]:
    """File name to the kind of its damage; each belongs to a record of 48 x 64 pixels (height x width)."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = Image.fromarray(PIXELS)
    jpeg, png, avif = encode(whole), encode(whole, "PNG"), encode(whole, "AVIF")
    contents = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated-image"),
        "cut.png": (png[: len(png) // 2], "truncated-image"),
        # Not even the header is whole.
        "stump.jpg": (jpeg[:20], "unreadable-image"),
        "zero.jpg": (b"", "unreadable-image"),
        # Its container points into nowhere.
        "lost.avif": (avif.replace(b"iloc", b"xxxx"), "unreadable-image"),
        "text.jpg": (b"This is a page that says: not found.", "unreadable-image"),
        "small.png": (encode(whole.resize((32, 24)), "PNG"), "size-mismatch"),
        # As high as the record says wide.
        "turned.png": (encode(whole.transpose(Image.Transpose.ROTATE_90), "PNG"), "size-mismatch"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "huge.png").write_bytes(png_header(20_000, 20_000))
    (folder / "folder.jpg").mkdir()
    return {name: kind for name, (_, kind) in contents.items()} | {
        "huge.png": "too-large",
        "folder.jpg": "unreadable-image",
        "nowhere.jpg": "missing-image",
    }


def write_odd_but_whole(folder: Path) -> list[str]:
    """Names of images of 48 x 64 pixels in forms that training reads all the same."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right before it is shown
    gray16 = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 257)
    contents = {
        "plain.jpg": encode(whole),
        "cmyk.jpg": encode(whole.convert("CMYK")),
        "animated.gif": encode(whole, "GIF", save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
        "gray.png": encode(whole.convert("L"), "PNG"),
        "gray16.png": encode(gray16, "PNG"),
        "palette.png": encode(whole.convert("P"), "PNG"),
        "transparent.png": encode(whole.convert("RGBA"), "PNG"),
        # Stored lying, shown upright: what counts is what people see.
        "exif.jpg": encode(whole.transpose(Image.Transpose.ROTATE_90), exif=exif),
        # A suffix decides nothing.
        "really_a_png.jpg": encode(whole, "PNG"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return list(contents)
