"""The server's page in a real browser: an image by every way in, what is shown of it, and every way out."""

import base64
import io
import json
import re

import networkx as nx
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browsing import DARK, LIGHT, PATIENCE, watched_page
from tests.serving.images import empty_png

# A file as if dragged here, or copied.
TRANSFER = """([kind, name, text]) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
    const event = kind === "drop"
        ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
    document.body.dispatchEvent(event);
}"""


@pytest.fixture
def page(browser, server):
    with watched_page(browser, server.address, served=True) as page:
        expect(page.locator("#model option")).to_have_text(["scenes", "scenes_egtr"])
        yield page


def give(page, scene, name="street.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": scene})
    expect(page.locator("#name")).to_contain_text(name)
    expect(page.locator("#status")).to_have_text("")
    return page.locator(".triplets li")


def test_a_chosen_image_is_shown_with_explanations(page, scene):
    with page.expect_file_chooser() as chooser:
        page.click("#drop")
    chooser.value.set_files({"name": "my <b>street</b>.png", "mimeType": "image/png", "buffer": scene})
    expect(page.locator("#name")).to_contain_text("my <b>street</b>.png")
    rows = page.locator(".triplets button")
    rows.nth(0).click()
    expect(page.locator(".overlay .box.lit")).to_have_count(2)
    subject, object_ = rows.nth(0).locator(".chip").all_inner_texts()
    expect(page.locator(".explanation h3")).to_contain_text(f"{subject} – ")
    expect(page.locator(".explanation h3")).to_contain_text(f" – {object_}")
    expect(page.locator(".explanation .gates tr")).to_have_count(4)  # three layers and the last state
    page.keyboard.press("ArrowRight")
    expect(rows.nth(1)).to_have_class("plain lit")
    page.keyboard.press("Escape")
    expect(page.locator(".triplets button.lit")).to_have_count(0)


def test_an_image_may_be_chosen_before_the_models_are_listed(page, scene):
    """On a slow connection, the page is there before the answer about models."""
    page.add_init_script("""
        const fetchAtOnce = window.fetch;
        window.fetch = async (...words) => {
          if (words[0] === "api/v1/models") await new Promise((done) => setTimeout(done, 500));
          return fetchAtOnce(...words);
        };""")
    page.reload()
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": scene})
    expect(page.locator("#name")).to_contain_text("a.png")
    expect(page.locator("#problem")).to_be_empty()


def test_what_the_model_does_not_know_stands_above_the_image(page, scene):
    give(page, scene)
    expect(page.locator(".warnings p")).to_have_count(1)
    expect(page.locator(".warnings")).to_contain_text("Beware: the model scenes was trained on drawings")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropping_and_pasting(page, scene, kind):
    page.evaluate(TRANSFER, [kind, f"{kind}.png", base64.b64encode(scene).decode()])
    expect(page.locator("#name")).to_contain_text(f"{kind}.png")
    image = page.locator("[data-panel=prediction] .image img")
    # Of the copy that the server sends: the image of 243 x 220 pixels is not made smaller.
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 243


def test_an_example_and_what_the_model_knows(page, predictor):
    page.click("#example")
    expect(page.locator("#name")).to_have_text("example.png · 243 × 220")
    assert page.locator(".triplets li").count() > 0
    classes, predicates = predictor.class_names, predictor.predicate_names
    known = f"What the model knows: {len(classes)} classes and {len(predicates)} predicates"
    expect(page.locator("#vocabulary summary")).to_have_text(known)
    page.click("#vocabulary summary")
    expect(page.locator("#classes")).to_have_text(", ".join(classes))
    expect(page.locator("#predicates")).to_have_text(", ".join(predicates))


def test_camera(page):
    page.click("#use-camera")
    video = page.locator("#video")
    expect(video).to_be_visible()
    video.evaluate("video => video.videoWidth || new Promise((ready) => { video.onloadeddata = ready; })")
    page.click("#shoot")
    # Chromium's test camera has 640 x 480 pixels.
    expect(page.locator("#name")).to_have_text("camera.jpg · 640 × 480")
    expect(page.locator("#camera")).to_be_hidden()
    # The light of the camera goes out.
    assert video.evaluate("video => video.srcObject") is None


def test_thresholds_need_no_upload_and_models_do_not_ask_for_the_file_again(page, scene):
    rows = give(page, scene)
    count = rows.count()
    posts = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url.rpartition("?")[2]))
    page.locator("#score").fill("80")  # 0.8 squared is 0.64
    expect(page.locator("#score-value")).to_have_text("0.64")
    heading = re.compile(r"Prediction · (\d+) relations? shown, (\d+) hidden")
    expect(page.locator(".panel h2").first).to_have_text(heading)
    shown, hidden = map(int, heading.search(page.locator(".panel h2").first.inner_text()).groups())
    assert shown > 0 and hidden > 0 and shown + hidden == count
    assert posts == []
    page.select_option("#model", "scenes_egtr")
    expect(page.locator("#status")).to_have_text("")
    page.uncheck("#merge")
    page.uncheck("#single-objects")
    page.select_option("#top-k", "10")
    expect(page.locator("#status")).to_have_text("")
    assert posts[0] == "model=scenes_egtr&top_k=20&merge=true&single_objects=true"
    assert posts[-1] == "model=scenes_egtr&top_k=10&merge=false&single_objects=false"


def test_downloads_are_what_is_shown(page, scene):
    rows = give(page, scene)

    def download(format):
        with page.expect_download() as download:
            page.click(f"[data-format={format}]")
        assert download.value.suggested_filename == f"street_graph.{format}"
        return download.value.path()

    graph = json.loads(download("json").read_text("utf-8"))
    assert len(graph["relations"]) == rows.count() and graph["source"]["file_name"] == "street.png"
    page.locator("#score").fill("80")
    expect(page.locator("#score-value")).to_have_text("0.64")
    count = page.locator(".triplets li:not([hidden])").count()
    assert 0 < count < rows.count()
    assert nx.read_graphml(download("graphml")).number_of_edges() == count
    with Image.open(io.BytesIO(download("png").read_bytes())) as image:
        assert image.format == "PNG" and image.width > 2000


def test_what_goes_wrong_is_said_and_can_be_mended(browser, server, scene):
    """Browsers report refused requests on the console, so that this page is not watched."""
    page = browser.new_page()
    try:
        page.set_default_timeout(PATIENCE)
        page.goto(server.address)
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": empty_png(20_000, 20_000)})
        expect(page.locator("#problem")).to_contain_text("more than 40 megapixels; scale it down")
        give(page, scene)
        expect(page.locator("#problem")).to_have_text("")
        # A refused file replaces nothing: the former image is shown, and saved.
        page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": b"no image"})
        expect(page.locator("#problem")).to_contain_text("no image in a format that is read here")
        expect(page.locator("#name")).to_contain_text("street.png")
        with page.expect_download() as download:
            page.click("[data-format=json]")
        assert json.loads(download.value.path().read_text("utf-8"))["source"]["file_name"] == "street.png"
    finally:
        page.close()


def test_dark_and_light(page, scene):
    give(page, scene)
    body = page.locator("body")
    expect(body).to_have_css("background-color", LIGHT)
    page.click("#theme")
    expect(body).to_have_css("background-color", DARK)


def test_a_phone(browser, server, scene):
    options = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True}
    with watched_page(browser, server.address, served=True, **options) as page:
        give(page, scene)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        bottom = "window.scrollTo(0, document.body.scrollHeight)"
        page.evaluate(bottom)
        expect(page.locator("#name")).not_to_be_in_viewport()
        give(page, scene, "second.png")
        expect(page.locator("#name")).to_be_in_viewport()
        # A request that fails on the way: one that the server refuses is reported on the console.
        page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('lost')); }")
        page.evaluate(bottom)
        expect(page.locator("#problem")).not_to_be_in_viewport()
        page.set_input_files("#file", {"name": "c.png", "mimeType": "image/png", "buffer": scene})
        expect(page.locator("#problem")).to_contain_text("does not answer")
        expect(page.locator("#problem")).to_be_in_viewport()
        page.locator(".triplets button").first.tap()
        expect(page.locator(".explanation h3")).to_be_visible()
