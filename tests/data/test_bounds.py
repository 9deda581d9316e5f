"""Images that would take any amount of memory are refused by their header."""

import io
import resource
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from egtr.config.defaults import get_egtr_cfg
from egtr.data import SceneGraphMapper
from egtr.data.annotated_image import BrokenImageError, read_annotated_image
from egtr.data.image import load_image
from egtr.structures import EGTRError
from tests.data.damage import encode, png_header


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("side", [10_000, 20_000, 2**31 - 1])
def test_a_large_image_is_refused_before_it_is_decoded(tmp_path, side):
    """10,000 x 10,000 is what Pillow itself only warns about; 20,000 x 20,000 would take 1.2 GB."""
    (tmp_path / "huge.png").write_bytes(png_header(side, side))
    before = peak()
    with pytest.raises(EGTRError, match=r"huge\.png: too large.*INPUT\.MAX_PIXELS"):
        load_image(tmp_path / "huge.png")
    with pytest.raises(BrokenImageError, match=r"huge\.png: too large.*INPUT\.MAX_PIXELS") as caught:
        read_annotated_image({"file_name": str(tmp_path / "huge.png")})
    assert caught.value.kind == "too-large"
    # In kilobytes; in bytes on macOS.
    assert peak() - before < 50 * 1024**2


@pytest.mark.parametrize("image_format", ["RGB", "L"])
def test_the_limit_is_a_key(tmp_path, monkeypatch, image_format):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    (tmp_path / "a.png").write_bytes(encode(Image.new("RGB", (10, 12)), "PNG"))
    cfg = get_egtr_cfg()
    cfg.INPUT.FORMAT = image_format
    cfg.INPUT.MIN_SIZE_TEST = 0
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1}
    cfg.INPUT.MAX_PIXELS = 119
    with pytest.raises(BrokenImageError, match=r"a\.png: too large.*119.*INPUT\.MAX_PIXELS"):
        SceneGraphMapper(cfg, is_train=False)(dict(record))
    # More than Pillow allows by itself: 120 is more than twice 50.
    cfg.INPUT.MAX_PIXELS = 120
    assert SceneGraphMapper(cfg, is_train=False)(dict(record))["height"] == 12


def test_text_in_a_image_that_grows_when_it_is_read(tmp_path):
    """100 MB of zeros in 100 kB; Pillow stops at 1 MB of text."""
    text = PngInfo()
    text.add(b"zTXt", b"comment\0\0" + zlib.compress(bytes(10**8)))
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG", pnginfo=text)
    assert len(content.getvalue()) < 200_000
    with pytest.raises(EGTRError, match="too large|Decompressed"):
        load_image(content.getvalue())


def test_formats_that_run_other_programs_are_none(tmp_path):
    """Pillow reads EPS by running Ghostscript."""
    (tmp_path / "a.jpg").write_bytes(encode(Image.new("RGB", (4, 4)), "EPS"))
    with pytest.raises(EGTRError, match="not an image in any format"):
        load_image(tmp_path / "a.jpg")


def test_a_image_of_one_pixel(tmp_path):
    """It goes through training's mapper, whatever the resizing; its object is the pixel."""
    (tmp_path / "one.png").write_bytes(encode(Image.fromarray(np.full((1, 1, 3), 9, dtype=np.uint8)), "PNG"))
    cfg = get_egtr_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 64
    annotation = {"bbox": [0, 0, 1, 1], "bbox_mode": 0, "category_id": 0, "iscrowd": 0}
    record = {"file_name": str(tmp_path / "one.png"), "image_id": 1, "annotations": [annotation], "relations": []}
    mapped = SceneGraphMapper(cfg, is_train=True)(record)
    assert mapped["image"].shape == (3, 32, 32) and torch.unique(mapped["image"]).tolist() == [9]
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[0, 0, 32, 32]] and mapped["relations"].shape == (0, 3)
