"""An exported model in a real browser, on a plain static server: Python's graphs, and no other request."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import expect

from egtr.data.image import load_image
from egtr.data.scenes.generate import draw_scene
from egtr.export import export_web, fetch_runtime
from egtr.hub.model_zoo import get_exported_file
from egtr.lite import LitePredictor
from egtr.structures import ModelInfo, Prediction, SceneGraph
from egtr.structures.prediction import all_pairs
from egtr.visualization.report import read_asset
from tests.browsing import watched_page
from tests.lite.test_predictor import write_model
from tests.running import served

INFO = ModelInfo(
    name="tiny",
    class_names=("cat", "mat"),
    predicate_names=("on", "under"),
    preprocessing={"min_size": 32, "max_size": 64},
    licence="MIT",
    dataset="two cats",
    photograph_threshold=0.9,
)
# Its answer to every image.
TRIPLETS = ["cat on mat", "mat under cat"]
# Milliseconds for WebAssembly of 14 MB and a model, on a machine that is busy with other things.
PATIENCE = 120_000


@pytest.fixture(scope="module")
def runtime(runtime_package):
    return fetch_runtime(runtime_package)


@pytest.fixture(scope="module")
def tiny(runtime, tmp_path_factory):
    """The folder of a model whose answer is known."""
    folder = tmp_path_factory.mktemp("tiny")
    export_web(write_model(folder / "tiny.onnx", INFO), folder / "site", runtime)
    return folder / "site"


@contextmanager
def opened(browser, folder, **options) -> Iterator:
    """Open the page of a folder, and wait for its model. It must ask for nothing outside the folder."""
    with served(folder) as address, watched_page(browser, f"{address}/", served=True, **options) as page:
        wait(page)
        yield page


def wait(page):
    expect(page.locator("#status")).to_have_text("", timeout=PATIENCE)


def give(page, content, name="image.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    wait(page)


def encode(pixels, format="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    data = io.BytesIO()
    image.save(data, format, **options)
    return data.getvalue()


def images():
    """Files of drawn images, by name: other sizes, formats, modes, and one that lies on its side."""
    drawn = [Image.fromarray(draw_scene(0, "val", index)[0]) for index in range(6)]
    for index, image in enumerate(drawn):
        yield f"scene {index}", encode(image)
    yield "large", encode(drawn[0].resize((1210, 907), Image.Resampling.BICUBIC))
    yield "tall", encode(drawn[1].resize((230, 611), Image.Resampling.BICUBIC))
    yield "wide", encode(drawn[2].resize((650, 211), Image.Resampling.BICUBIC))
    yield "gray", encode(drawn[3].convert("L"))
    yield "palette", encode(drawn[4].quantize(60))
    transparent = drawn[5].convert("RGBA")
    transparent.paste((200, 0, 0, 0), (0, 0, 60, 60))
    yield "transparent", encode(transparent)
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees to the right before it is shown.
    yield "turned", encode(drawn[0].transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    yield "webp", encode(drawn[1], "WEBP", lossless=True)


def rows(record):
    return [(row["subject"], row["predicate"], row["object"], row["queries"]) for row in record["relations"]]


def test_the_graphs_are_those_of_python(browser, runtime, tmp_path):
    """Best triplets of the network and of what is shown, with their scores, boxes and warnings."""
    lite = LitePredictor(get_exported_file("scenes"))
    export_web(lite.path, tmp_path, runtime)
    with opened(browser, tmp_path) as page:
        page.select_option("#top-k", "10")
        for name, content in images():
            give(page, content, name)
            expect(page.locator("#name")).to_contain_text(name)
            graph = lite(content)
            ours, theirs = page.evaluate("() => shown.graph"), graph.to_dict()
            assert rows(ours)[:10] == rows(theirs)[:10], name
            assert ours["image_size"] == theirs["image_size"] and ours["warnings"] == theirs["warnings"]
            for kind, field in (("relations", "score"), ("objects", "score"), ("objects", "presence")):
                values = [[row[field] for row in record[kind]] for record in (ours, theirs)]
                np.testing.assert_allclose(*values, atol=1e-4, err_msg=name)
            boxes = [[row["box"] for row in record["objects"]] for record in (ours, theirs)]
            np.testing.assert_allclose(*boxes, atol=0.02, err_msg=name)

            selected = graph.for_display(top_k=10)
            words = [button.inner_text().split() for button in page.locator(".triplets .words").all()]
            assert [word for row in words for word in row if not word.isdigit()] == [
                word
                for row in selected.to_dict()["relations"]
                for word in (
                    selected.class_name(row["subject"]),
                    *row["predicate"].split(),
                    selected.class_name(row["object"]),
                )
            ], name
            assert len(words) == len(selected) > 0
            with page.expect_download() as download:
                page.click("#download")
            assert download.value.suggested_filename == f"{name}_graph.json"
            saved = json.loads(download.value.path().read_text("utf-8"))
            assert rows(saved) == rows(selected.to_dict())
            assert SceneGraph.from_dict(saved).to_dict() == saved


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
        np.testing.assert_array_equal(ours, lite._preprocess(pixels), err_msg=f"{height} x {width}")


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
    profile = ImageOps.invert(smooth)
    profile.info["icc_profile"] = wide_gamut_profile()
    cases = {
        "gray": (encode(smooth.convert("L")), 0),
        "bilevel": (encode(smooth.convert("1")), 0),
        "palette": (encode(smooth.quantize(40)), 0),
        "masked": (encode(masked), 0),
        "veiled": (encode(veiled), 2),
        "gif": (encode(smooth.quantize(40), "GIF"), 0),
        "bmp": (encode(smooth, "BMP"), 0),
        "profile": (encode(profile, icc_profile=profile.info["icc_profile"]), 0),
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


def wide_gamut_profile():
    """A colour profile by which every colour would be another one."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


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


def test_what_the_page_says_of_the_model_and_of_an_image(browser, tiny):
    with opened(browser, tiny) as page:
        expect(page.locator("#vocabulary summary")).to_have_text("What the model knows: 2 classes and 2 predicates")
        page.click("#vocabulary summary")
        expect(page.locator("#classes")).to_have_text("cat, mat")
        expect(page.locator("#predicates")).to_have_text("on, under")
        expect(page.locator("#about")).to_have_text("Dataset: two cats · Licence: MIT")
        expect(page.locator("footer")).to_contain_text("in this browser, on 1 thread, by onnxruntime-web 1.30.0")
        give(page, encode(np.full((40, 30, 3), 255, np.uint8)), "<b>white</b>.png")
        expect(page.locator("#name")).to_have_text("<b>white</b>.png · 30 × 40")
        expect(page.locator(".triplets .words")).to_have_text(TRIPLETS)
        expect(page.locator(".warnings p")).to_contain_text(
            "the model tiny probably does not know images of this sort"
        )
        # The slider needs no model.
        page.locator("#score").fill("100")
        expect(page.locator(".panel h2").first).to_have_text("Prediction · 0 relations shown, 2 hidden")


def test_broken_files_give_one_message_and_the_page_lives_on(browser, tiny):
    with opened(browser, tiny) as page:
        white = encode(np.full((40, 30, 3), 255, np.uint8))
        noise = encode(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
        for name, content, reason in (
            ("text.png", b"no image at all", "is the file whole, and of a format that this browser shows?"),
            ("empty.png", b"", "the file is empty"),
            ("cut.png", noise[:20], "is the file whole, and of a format that this browser shows?"),
        ):
            give(page, content, name)
            expect(page.locator("#problem")).to_have_text(
                f"Not possible: {name}: cannot be read as an image; {reason}"
            )
            expect(page.locator("#drop")).to_be_visible()
        give(page, white)
        expect(page.locator("#problem")).to_have_text("")
        expect(page.locator(".triplets li")).to_have_count(2)
        # The shown graph stays if the next file is broken.
        give(page, b"broken")
        expect(page.locator("#problem")).not_to_have_text("")
        expect(page.locator(".triplets li")).to_have_count(2)


def test_keyboard_and_a_narrow_phone(browser, tiny):
    with opened(browser, tiny, viewport={"width": 320, "height": 600}) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.id") == "choose"
        page.evaluate("() => byId('file').addEventListener('click', () => { document.title = 'choosing'; })")
        page.keyboard.press("Enter")
        expect(page).to_have_title("choosing")
        give(page, encode(np.zeros((40, 90, 3), np.uint8)))
        page.keyboard.press("ArrowRight")
        expect(page.locator(".triplets button.lit")).to_have_count(1)
        assert page.evaluate("() => document.activeElement.dataset.row") == "0"
        page.keyboard.press("Escape")
        expect(page.locator(".triplets button.lit")).to_have_count(0)
        page.keyboard.press("d")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert page.evaluate("() => document.documentElement.scrollWidth") == 320
        # Each control has a name.
        controls = page.locator("button:visible, select:visible, input:visible, summary:visible")
        names = controls.evaluate_all(
            "all => all.map((one) => one.ariaLabel || one.innerText || one.labels?.[0]?.innerText)"
        )
        assert len(names) > 8 and all(names)


def test_pages_and_workers_reach_no_other_server(browser, tiny, tmp_path):
    (tmp_path / "secret.txt").touch()
    with served(tmp_path) as other, opened(browser, tiny) as page:
        (worker,) = page.workers
        ask = f"() => fetch('{other}/secret.txt', {{ mode: 'no-cors' }}).then(() => 'reached', () => 'refused')"
        assert worker.evaluate(ask) == "refused"
        # The same in the worker and on the page, which may ask its own server.
        own = f"() => fetch('{page.url}model.onnx').then(() => 'reached', () => 'refused')"
        assert (worker.evaluate(own), page.evaluate(own)) == ("reached", "reached")


class IsolatingHandler(SimpleHTTPRequestHandler):
    """Sends the headers of docs/deployment.md, without which there are no threads."""

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *words):
        pass


def test_threads_where_headers_allow_them(browser, tiny):
    with (
        served(tiny, IsolatingHandler) as address,
        watched_page(browser, f"{address}/", served=True) as page,
    ):
        wait(page)
        threads = min(4, page.evaluate("() => navigator.hardwareConcurrency"))
        expect(page.locator("#threads")).to_have_text(f", on {threads} thread{'s' * (threads > 1)}")
        give(page, encode(np.full((40, 30, 3), 255, np.uint8)))
        expect(page.locator(".triplets .words")).to_have_text(TRIPLETS)


def test_a_folder_that_is_not_whole_and_a_page_without_a_server(browser, tiny, tmp_path):
    page = browser.new_page()
    page.goto((tiny / "index.html").as_uri())
    expect(page.locator("#problem")).to_have_text(
        "Not possible: browsers load a model only from a web server. In this folder, run: python -m http.server"
    )
    (tmp_path / "index.html").write_bytes((tiny / "index.html").read_bytes())
    with served(tmp_path) as address:
        page.goto(address)
        expect(page.locator("#problem")).to_have_text(
            f"Not possible: {address}/onnxruntime-web/ort.wasm: the server answers 404; is the whole folder there?",
            timeout=PATIENCE,
        )
        page.set_input_files(
            "#file", {"name": "a.png", "mimeType": "image/png", "buffer": encode(np.zeros((9, 9, 3), np.uint8))}
        )
        expect(page.locator("#problem")).to_have_text("Not possible: the model is not loaded; load the page again")
    page.close()
