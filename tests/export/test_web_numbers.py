"""The scripts of an exported page compute what Python computes: pixels to the bit, ranking with all its ties."""

import base64

import numpy as np
import pytest
from PIL import Image, ImageCms

from egtr.data.image import load_image
from egtr.lite import LitePredictor
from egtr.structures import ModelInfo, Prediction, SceneGraph
from egtr.structures.prediction import all_pairs
from egtr.visualization.report import read_asset
from tests.export.web import encode, rows
from tests.lite.test_predictor import write_model


@pytest.fixture(scope="module")
def scripts(browser):
    """A page that has the scripts of the worker, but no model."""
    page = browser.new_page()
    for name in ("pixels.js", "ranking.js"):
        page.add_script_tag(content=read_asset(name, "egtr.export"))
    yield page
    page.close()


INPUT = """async ([text, preprocessing]) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const { values, shape } = prepareInput(await readPixels(new Blob([bytes]), "image"), preprocessing);
    return [shape, values.join(" ")];
}"""


def read_input(scripts, content, preprocessing):
    shape, values = scripts.evaluate(INPUT, [base64.b64encode(content).decode(), preprocessing])
    return np.array(values.split(), np.float32).reshape(shape)


@pytest.mark.parametrize(
    "preprocessing",
    [
        {"min_size": 32, "max_size": 64},
        {"min_size": 45, "max_size": 50, "format": "BGR"},
        {"min_size": 77},
        {"fixed_size": [40, 90]},
        {},
    ],
    ids=["usual", "tight", "no limit", "fixed", "as it is"],
)
def test_the_input_of_the_network_is_the_same_to_the_bit(preprocessing, scripts, tmp_path):
    """Noise, whose every pixel shows in the result, made smaller, larger, and both."""
    lite = LitePredictor(write_model(tmp_path / "model.onnx", ModelInfo(preprocessing=preprocessing)))
    random = np.random.default_rng(0)
    for height, width in [(32, 32), (33, 64), (100, 31), (7, 40), (213, 160), (1, 90), (50, 5), (301, 299)]:
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        ours = read_input(scripts, encode(pixels), preprocessing)
        np.testing.assert_array_equal(ours, lite.preprocess(pixels), err_msg=f"{height} x {width}")


def test_images_are_decoded_as_by_pillow(scripts):
    """Modes and orientations without loss exactly; JPEG, and pixels that are half transparent, to within rounding."""
    random = np.random.default_rng(1)
    smooth = Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize(
        (90, 60), Image.Resampling.BICUBIC
    )
    alpha = Image.fromarray(random.integers(0, 2, (60, 90), dtype=np.uint8) * 255)
    masked, veiled = smooth.copy(), smooth.copy()
    masked.putalpha(alpha)
    veiled.putalpha(Image.fromarray(random.integers(0, 256, (60, 90), dtype=np.uint8)))
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    cases = {
        "gray": (encode(smooth.convert("L")), 0),
        "bilevel": (encode(smooth.convert("1")), 0),
        "palette": (encode(smooth.quantize(40)), 0),
        "masked": (encode(masked), 0),
        "veiled": (encode(veiled), 2),
        "gif": (encode(smooth.quantize(40), "GIF"), 0),
        "bmp": (encode(smooth, "BMP"), 0),
        "profile": (encode(smooth, icc_profile=wide), 0),
        "jpeg": (encode(smooth, "JPEG", quality=90), 2),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        cases[f"orientation {orientation}"] = encode(smooth, "JPEG", quality=95, subsampling=0, exif=exif), 2
    for name, (content, tolerance) in cases.items():
        theirs = load_image(content).transpose(2, 0, 1)[None]
        ours = read_input(scripts, content, {})
        assert ours.shape == theirs.shape, name
        assert np.abs(ours - theirs).max() <= tolerance, f"{name}: {np.abs(ours - theirs).max()}"


RANK = """([outputs, size, record]) => {
    for (const output of Object.values(outputs)) output.data = Float32Array.from(output.data);
    return makeGraph(outputs, size, record, "image.png");
}"""


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "auto"])
@pytest.mark.parametrize("num_classes", [1, 4])
def test_ties_are_ranked_as_in_python(kind, num_classes, scripts):
    """Few different values, so that most triplets and many objects tie."""
    limits = {"least_score": 0.001, "share_of_best": 0.05, "object_threshold": 0.5, "merge_iou": 0.7}
    for seed in range(6):
        random = np.random.default_rng(seed)
        n, r = int(random.integers(1, 12)), int(random.integers(1, 5))
        outputs = {
            "logits": random.integers(-2, 3, (n, num_classes)),
            "boxes": np.concatenate([random.integers(4, 7, (n, 2)) / 10, random.integers(5, 7, (n, 2)) / 10], 1),
            "connectivity": random.integers(0, 3, (n, n)) / 2,
            "relation": random.integers(0, 4, (n, n, r)) / 4,
        }
        outputs = {name: values.astype(np.float32) for name, values in outputs.items()}
        centre, half = outputs["boxes"][:, :2], outputs["boxes"][:, 2:] / 2
        prediction = Prediction(
            outputs["logits"],
            np.concatenate([centre - half, centre + half], 1) * np.float32([50, 40, 50, 40]),
            all_pairs(n),
            outputs["connectivity"].reshape(-1),
            outputs["relation"].reshape(-1, r),
            (40, 50),
        )
        theirs = SceneGraph.from_prediction(prediction, top_k=30, object_score=kind)
        sent = {name: {"data": values.ravel().tolist(), "dims": values.shape} for name, values in outputs.items()}
        record = {"info": {}, "object_score": kind, "triplets_per_image": 30}
        ours = scripts.evaluate(RANK, [sent, {"height": 40, "width": 50}, record])
        assert rows(ours) == rows(theirs.to_dict())
        assert [entry["class"] for entry in ours["objects"]] == [theirs.class_name(i) for i in range(n)]
        for merge, single in ((True, True), (False, True), (True, False)):
            selection = {"topK": 8, "merge": merge, "singleObjects": single, "minScore": 0}
            shown = scripts.evaluate("(words) => roundGraph(selectForDisplay(...words))", [ours, selection, limits])
            wanted = theirs.for_display(top_k=8, merge_iou=0.7 if merge else None, single_objects=single).to_dict()
            assert rows(shown) == rows(wanted)
            assert [entry["query"] for entry in shown["objects"]] == [entry["query"] for entry in wanted["objects"]]
            np.testing.assert_allclose(
                *([entry["presence"] for entry in graph["objects"]] for graph in (shown, wanted)), atol=2e-6
            )


def test_what_is_shown_by_probability_is_the_same_as_in_python(scripts):
    """The first two of the probabilities 0.9, 0.31, 0.29 and 0.09 are shown; by rank, all would be."""
    scores = [1.0, 0.31 / 0.9, 0.29 / 0.9, 0.1]
    outputs = {
        "logits": np.full((5, 1), 9.0),
        "boxes": np.array([[0.1 + 0.2 * i, 0.5, 0.1, 0.1] for i in range(5)]),
        "connectivity": np.eye(5, k=1),
        "relation": np.zeros((5, 5, 1)),
    }
    for place, score in enumerate(scores):
        outputs["relation"][place, place + 1, 0] = score
    line = {"scores": [0.0, 1.0], "probabilities": [0.0, 0.9]}
    sent = {name: {"data": values.ravel().tolist(), "dims": values.shape} for name, values in outputs.items()}
    record = {"info": {}, "object_score": "sigmoid", "triplets_per_image": 4}
    record["calibration"] = {"triplets": line, "precision": line, "objects": line}
    ours = scripts.evaluate(RANK, [sent, {"height": 40, "width": 50}, record])
    limits = {"least_score": 0.001, "share_of_best": 0.05, "object_threshold": 0.5, "merge_iou": 0.7}
    shown = []
    for least, min_score in ((None, 0), (0.3, 0), (0.3, 0.5), (0.0, 0)):
        selection = {"topK": 8, "merge": True, "singleObjects": False, "minScore": min_score}
        part = [ours, selection, limits | {"least_probability": least}]
        shown.append(len(scripts.evaluate("(words) => selectForDisplay(...words)", part)["relations"]))
    assert shown == [4, 2, 1, 4]


def test_numbers_that_cannot_be_ranked(scripts):
    sent = {
        "logits": {"data": [0, 0], "dims": [2, 1]},
        "boxes": {"data": [0.5] * 8, "dims": [2, 4]},
        "connectivity": {"data": [1] * 4, "dims": [2, 2]},
        "relation": {"data": [0.5, "NaN", 0.5, 0.5], "dims": [2, 2, 1]},
    }
    record = {"info": {}, "object_score": "auto", "triplets_per_image": 30}
    with pytest.raises(Exception, match="output holds NaN or infinity, which cannot be ranked"):
        scripts.evaluate(RANK, [sent, {"height": 40, "width": 50}, record])
