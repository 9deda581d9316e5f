"""An exported model in a real browser, on a plain static server: Python's graphs, and no other request."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from egtr.data.scenes.generate import draw_scene
from egtr.export import export_web, fetch_runtime
from egtr.hub.model_zoo import get_exported_file
from egtr.lite import LitePredictor
from egtr.structures import ModelInfo, SceneGraph
from tests.browsing import watched_page
from tests.export.web import encode, rows
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


def test_the_graphs_are_those_of_python(browser, runtime, tmp_path):
    """Best triplets of the network and of what is shown, with their scores, boxes and warnings."""
    lite = LitePredictor(get_exported_file("scenes"))
    export_web(lite.path, tmp_path, runtime)
    with opened(browser, tmp_path) as page:
        page.select_option("#top-k", "10")
        numbers = []
        for name, content in images():
            give(page, content, name)
            expect(page.locator("#name")).to_contain_text(name)
            graph = lite(content)
            ours, theirs = page.evaluate("() => shown.graph"), graph.to_dict()
            assert rows(ours)[:10] == rows(theirs)[:10], name
            assert ours["image_size"] == theirs["image_size"] and ours["warnings"] == theirs["warnings"]
            for kind, field in (
                ("relations", "score"),
                ("relations", "probability"),
                ("relations", "precision"),
                ("objects", "score"),
                ("objects", "presence"),
                ("objects", "probability"),
            ):
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
            assert len(words) == len(selected)
            numbers.append(len(words))
            with page.expect_download() as download:
                page.click("#download")
            assert download.value.suggested_filename == f"{name}_graph.json"
            saved = json.loads(download.value.path().read_text("utf-8"))
            assert rows(saved) == rows(selected.to_dict())
            assert SceneGraph.from_dict(saved).to_dict() == saved
        # Of one image no relation is probable enough.
        assert sum(numbers) > 20


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
        # The graph stays if the next file is broken.
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
        give(page, b"", f"{'long' * 40}.png")
        expect(page.locator("#problem")).to_contain_text("longlong")
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
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model.onnx"))
    with served(tmp_path) as address:
        page.goto(address)
        expect(page.locator("#problem")).to_have_text(
            f"Not possible: {address}/model.onnx: the server answers 404; is the whole folder there?",
            timeout=PATIENCE,
        )
        page.set_input_files(
            "#file", {"name": "a.png", "mimeType": "image/png", "buffer": encode(np.zeros((9, 9, 3), np.uint8))}
        )
        expect(page.locator("#problem")).to_have_text("Not possible: the model is not loaded; load the page again")
    page.close()
