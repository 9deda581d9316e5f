"""Images of every mode, read from real files, come out as people see them."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from egtr.data.image import find_images, load_image
from egtr.structures import EGTRError

# Upper left red, upper right green, lower half blue: shows channel order and orientation at once. 16 x 8.
RGB = np.zeros((8, 16, 3), dtype=np.uint8)
RGB[:4, :8], RGB[:4, 8:], RGB[4:] = (200, 30, 10), (20, 180, 40), (30, 60, 220)
GRAY = np.linspace(0, 255, 128).round().astype(np.uint8).reshape(8, 16)


def save(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def assert_looks_like(image, expected, tolerance=0):
    assert image.dtype == np.uint8 and image.shape == expected.shape
    assert np.abs(image.astype(int) - expected.astype(int)).max() <= tolerance


def test_rgb_in_common_formats(tmp_path):
    image = Image.fromarray(RGB)
    for name in ("a.png", "a.bmp", "a.tif", "a.ppm"):
        assert_looks_like(load_image(save(tmp_path, image, name)), RGB)
    assert_looks_like(load_image(save(tmp_path, image, "a.webp", lossless=True)), RGB)
    # JPEG at its best quality, without thinning out colour, is off by a few steps
    assert_looks_like(load_image(save(tmp_path, image, "a.jpg", quality=100, subsampling=0)), RGB, tolerance=6)


def test_gray_palette_and_bilevel(tmp_path):
    three = np.repeat(GRAY[:, :, None], 3, axis=2)
    assert_looks_like(load_image(save(tmp_path, Image.fromarray(GRAY), "gray.png")), three)
    palette = Image.fromarray(RGB).quantize(3)
    assert palette.mode == "P"
    assert_looks_like(load_image(save(tmp_path, palette, "palette.png")), RGB)
    assert_looks_like(load_image(save(tmp_path, palette, "palette.gif")), RGB)
    bilevel = Image.fromarray(np.where(GRAY > 127, 255, 0).astype(np.uint8)).convert("1")
    assert_looks_like(load_image(save(tmp_path, bilevel, "bilevel.png")), np.where(three > 127, 255, 0))


def test_transparency_lies_on_white(tmp_path):
    alpha = np.full((8, 16), 255, dtype=np.uint8)
    alpha[:, :8] = 0
    alpha[4:, 8:] = 51  # a fifth
    expected = RGB.copy()
    expected[:, :8] = 255
    expected[4:, 8:] = np.round(0.2 * RGB[4:, 8:] + 0.8 * 255)
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    assert_looks_like(load_image(save(tmp_path, rgba, "rgba.png")), expected, tolerance=1)
    assert_looks_like(load_image(save(tmp_path, rgba, "rgba.webp", lossless=True, exact=True)), expected, tolerance=1)

    gray_alpha = Image.merge(
        "LA", (Image.fromarray(GRAY), Image.fromarray(np.where(alpha == 0, 0, 255).astype(np.uint8)))
    )
    expected = np.repeat(np.where(alpha == 0, 255, GRAY)[:, :, None], 3, axis=2)
    assert_looks_like(load_image(save(tmp_path, gray_alpha, "la.png")), expected)

    palette = Image.fromarray(RGB).quantize(3)
    red = np.asarray(palette)[0, 0]
    expected = RGB.copy()
    expected[:4, :8] = 255
    path = save(tmp_path, palette, "transparent_palette.png", transparency=int(red))
    assert_looks_like(load_image(path), expected)


def test_cmyk(tmp_path):
    # without black ink, C = 255 - R and so on is exact
    cmyk = Image.fromarray(np.dstack([255 - RGB, np.zeros((8, 16), np.uint8)]), mode="CMYK")
    assert_looks_like(load_image(save(tmp_path, cmyk, "cmyk.tif")), RGB)
    # Adobe's JPEGs store ink inverted
    path = save(tmp_path, cmyk, "cmyk.jpg", quality=100, subsampling=0)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    assert_looks_like(load_image(path), RGB, tolerance=8)


def test_broken_colour_profile_is_left_out(tmp_path):
    cmyk = Image.fromarray(np.dstack([255 - RGB, np.zeros((8, 16), np.uint8)]), mode="CMYK")
    path = save(tmp_path, cmyk, "profile.tif", icc_profile=b"not a profile")
    with pytest.warns(UserWarning, match="colour profile"):
        assert_looks_like(load_image(path), RGB)


def test_lab(tmp_path):
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.fromarray(RGB), transform)
    assert lab.mode == "LAB"
    # 8-bit LAB has steps of 1 in a* and b*; in colours as saturated as these, that is ten steps of a channel
    assert_looks_like(load_image(save(tmp_path, lab, "lab.tif")), RGB, tolerance=12)


def test_sixteen_bit_gray_keeps_its_range(tmp_path):
    wide = GRAY.astype(np.uint16) * 257  # 0..65535, 257 = 65535 / 255
    three = np.repeat(GRAY[:, :, None], 3, axis=2)
    for name in ("wide.png", "wide.tif"):
        path = tmp_path / name
        cv2.imwrite(str(path), wide)
        with Image.open(path) as image:
            assert image.mode.startswith("I;16")
        assert_looks_like(load_image(path), three)


def test_sixteen_bit_colour(tmp_path):
    path = tmp_path / "wide_colour.png"
    cv2.imwrite(str(path), RGB[:, :, ::-1].astype(np.uint16) * 257)
    assert_looks_like(load_image(path), RGB)


def test_32_bit_gray_is_stretched(tmp_path):
    three = np.repeat(GRAY[:, :, None], 3, axis=2)
    assert_looks_like(load_image(save(tmp_path, Image.fromarray(GRAY.astype(np.float32) * 3 - 9), "f.tif")), three)
    assert_looks_like(load_image(save(tmp_path, Image.fromarray(GRAY.astype(np.int32) * 1000), "i.tif")), three)
    flat = Image.fromarray(np.full((8, 16), np.nan, dtype=np.float32))
    assert load_image(save(tmp_path, flat, "nan.tif")).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    """Each of the eight values says how a viewer must turn the stored pixels; the table is the standard's."""
    store = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),  # stored a quarter to the left, to be shown turned to the right
        7: np.rot90(RGB, 2).transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(np.ascontiguousarray(store)), "turned.png", exif=exif)
    assert_looks_like(load_image(path), RGB)
    path = save(
        tmp_path,
        Image.fromarray(np.ascontiguousarray(store)),
        "turned.jpg",
        exif=exif,
        quality=100,
        subsampling=0,
    )
    assert_looks_like(load_image(path), RGB, tolerance=6)


def test_first_frame_of_many(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    assert_looks_like(load_image(save(tmp_path, frames[0], "a.tif", save_all=True, append_images=frames[1:])), RGB)


def test_other_sources(tmp_path):
    path = save(tmp_path, Image.fromarray(RGB), "a.png")
    assert_looks_like(load_image(str(path)), RGB)
    assert_looks_like(load_image(path.read_bytes()), RGB)
    assert_looks_like(load_image(io.BytesIO(path.read_bytes())), RGB)
    with path.open("rb") as file:
        assert_looks_like(load_image(file), RGB)
    assert_looks_like(load_image(Image.fromarray(RGB)), RGB)
    assert_looks_like(load_image(RGB, "RGB"), RGB)
    assert_looks_like(load_image(cv2.imread(str(path)), "BGR"), RGB)
    assert_looks_like(load_image(RGB.astype(np.float64), "RGB"), RGB)
    tensor = torch.from_numpy(RGB.transpose(2, 0, 1).copy())
    assert_looks_like(load_image(tensor, "RGB"), RGB)
    # 0 and 255 are exact in it, which numpy does not know
    assert_looks_like(load_image(tensor.bfloat16(), "RGB"), RGB)
    assert_looks_like(load_image(GRAY), np.repeat(GRAY[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("pixels", "order", "message"),
    [
        (RGB, None, "channel_order"),
        (RGB, "GBR", "channel_order"),
        (RGB[None], "RGB", r"\(H, W, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "RGB", "shape"),
        (torch.from_numpy(RGB), "RGB", r"\(3, H, W\)"),
        (RGB / 255.0, "RGB", "0..255"),
        (RGB.astype(int) - 200, "RGB", "0..255"),
        (np.full((4, 4, 3), np.nan), "RGB", "finite"),
        (RGB > 100, "RGB", r"values are bool, expected numbers in 0\.\.255"),
        (torch.from_numpy(RGB > 100).permute(2, 0, 1), "RGB", "tensor of pixels: values are bool"),
        (RGB.astype(complex), "RGB", "values are complex128"),
        (Image.fromarray(RGB), "RGB", "channel_order"),
    ],
)
def test_bad_pixels(pixels, order, message):
    with pytest.raises(EGTRError, match=message):
        load_image(pixels, order)


def test_bad_files(tmp_path):
    whole = save(tmp_path, Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64, 3), np.uint8)), "a.jpg")
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[:-900])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, message in (
        ("half.jpg", "is the file whole"),
        ("text.jpg", "not an image"),
        ("empty.png", "not an image"),
        ("none.png", "no such file"),
        ("", "is a folder"),
    ):
        with pytest.raises(EGTRError, match=message) as caught:
            load_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_decompression_bomb(tmp_path):
    """A PNG of 60 bytes that claims 100,000 x 100,000 pixels is refused before they are unpacked."""
    path = save(tmp_path, Image.fromarray(GRAY), "bomb.png")
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    with pytest.raises(EGTRError, match="too large"):
        load_image(path)


def test_find_images(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "deep/c.png", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    def names(*inputs):
        found = find_images([tmp_path / i for i in inputs])
        return [path.removeprefix(f"{tmp_path}/") for path in found]

    assert names("") == ["a.jpg", "b.PNG", "odd[1].png"]
    assert names("*.jpg") == ["a.jpg"]
    assert names("**/*.png") == ["deep/c.png", "odd[1].png"]
    assert names("odd[1].png") == ["odd[1].png"]
    # no path twice; names that are not there are left for the reader to complain of
    assert names("missing.png", "a.jpg", "", "a.*") == ["missing.png", "a.jpg", "b.PNG", "odd[1].png"]
    for empty in ("*.gif", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(EGTRError, match="no image there"):
            names("a.jpg", empty)


@pytest.mark.parametrize("source", [["a.png", "b.png"], ("a.png",), None, 3, {"image": "a.png"}])
def test_what_is_no_image(source):
    with pytest.raises(EGTRError, match=f"^{type(source).__name__}: not an image; give one as a path, "):
        load_image(source)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_in_memory(kind):
    data = io.BytesIO()
    Image.fromarray(RGB).save(data, "png")
    assert_looks_like(load_image(kind(data.getvalue())), RGB)
