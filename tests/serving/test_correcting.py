"""Correcting a graph on the server's page, in a real browser: by mouse, touch and keys, and what is downloaded."""

import json

import pytest
from playwright.sync_api import expect

from egtr.data.datasets import read_coco_sg
from egtr.serving import Limits, ModelStore
from egtr.structures import PredictedImage, SceneGraph
from tests.browsing import PATIENCE, watched_page
from tests.serving.conftest import running

BOXES = ".editor .box"
NOTE = "#correcting-note"


def start(page, scene):
    page.set_input_files("#file", {"name": "street.png", "mimeType": "image/png", "buffer": scene})
    expect(page.locator("#name")).to_contain_text("street.png")
    page.click("#correct")
    expect(page.locator(BOXES).first).to_be_visible()


@pytest.fixture
def page(browser, server, scene):
    with watched_page(browser, server.address, served=True) as page:
        expect(page.locator("#model option")).to_have_text(["scenes", "scenes_egtr"])
        start(page, scene)
        yield page


def settle(page):
    expect(page.locator(NOTE)).to_contain_text("relation")
    expect(page.locator(NOTE)).not_to_contain_text("Asking")


def boxes(page):
    return page.evaluate("corrector.objects.map(({ box }) => box)")


def graph(page):
    return page.evaluate("corrector.graph")


def press(page, key):
    page.keyboard.press(key)
    settle(page)


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def on_screen(page, x, y):
    """Where a pixel of the image stands on the screen."""
    area = page.locator(".editor").bounding_box()
    size = graph(page)["image_size"]
    return area["x"] + x * area["width"] / size["width"], area["y"] + y * area["height"] / size["height"]


def smallest(page):
    """A box that no other one covers."""
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes(page)]
    return areas.index(min(areas))


def assert_related(page):
    """The graph, the list of triplets and the boxes belong together."""
    shown = graph(page)
    assert all(entry["given"] for entry in shown["objects"])
    for entry, box in zip(shown["objects"], boxes(page), strict=True):
        assert entry["box"] == pytest.approx(box, abs=0.01)
    assert page.locator(".triplets li").count() == len(shown["relations"])


def test_a_box_moves_and_grows_by_mouse(page):
    index = smallest(page)
    x1, y1, x2, y2 = boxes(page)[index]
    centre = (x1 + x2) / 2, (y1 + y2) / 2
    inwards = -20 if centre[0] > 120 else 20
    drag(page, on_screen(page, *centre), on_screen(page, centre[0] + inwards, centre[1]))
    settle(page)
    moved = boxes(page)[index]
    assert moved == pytest.approx([x1 + inwards, y1, x2 + inwards, y2], abs=0.6)
    assert_related(page)
    expect(page.locator(".editor [data-handle]")).to_have_count(8)
    # the corner at the top left, inwards
    drag(page, on_screen(page, *moved[:2]), on_screen(page, moved[0] + 5, moved[1] + 4))
    settle(page)
    assert boxes(page)[index] == pytest.approx([moved[0] + 5, moved[1] + 4, *moved[2:]], abs=0.6)
    assert_related(page)
    page.click("#undo")
    page.click("#undo")
    settle(page)
    assert boxes(page)[index] == [x1, y1, x2, y2]
    expect(page.locator("#undo")).to_be_disabled()


def test_keys_choose_move_resize_remove_and_undo(page):
    count = len(boxes(page))
    assert count > 2
    page.locator("#save-coco-sg").focus()
    chosen = []
    for _ in range(count):
        page.keyboard.press("Tab")
        chosen.append(page.evaluate("corrector.chosen"))
        # what is chosen has the focus, and a name
        assert page.evaluate("document.activeElement.dataset.box") == str(chosen[-1])
        assert ", from " in page.evaluate("document.activeElement.ariaLabel")
    assert sorted(chosen) == list(range(count))
    index = chosen[-1]  # the smallest one
    before = boxes(page)
    x1, y1, x2, y2 = before[index]
    horizontal, sign = ("ArrowLeft", -1) if x1 > 10 else ("ArrowRight", 1)
    press(page, horizontal)
    assert boxes(page)[index] == pytest.approx([x1 + 2 * sign, y1, x2 + 2 * sign, y2])  # 243 / 100
    press(page, "Shift+ArrowUp")
    assert boxes(page)[index] == pytest.approx([x1 + 2 * sign, y1, x2 + 2 * sign, y2 - 2])
    assert_related(page)
    press(page, "Delete")
    assert len(boxes(page)) == count - 1
    assert_related(page)
    for _ in range(3):
        press(page, "Control+z")
    assert boxes(page) == before
    expect(page.locator("#undo")).to_be_disabled()


def test_drawing_and_labels(page, predictor):
    count = len(boxes(page))
    page.click("#draw-box")
    drag(page, on_screen(page, 20, 30), on_screen(page, 90, 100))
    settle(page)
    assert boxes(page)[-1] == pytest.approx([20, 30, 90, 100], abs=0.6) and len(boxes(page)) == count + 1
    found = graph(page)["objects"][-1]["class"]
    assert found in predictor.class_names
    # the class is the model's, and not the person's yet
    expect(page.locator("#label")).to_have_value("")
    other = next(name for name in predictor.class_names if name != found)
    page.select_option("#label", other)
    expect(page.locator(NOTE)).not_to_contain_text("Asking")
    assert graph(page)["objects"][-1]["class"] == other
    assert_related(page)
    # Without a pointer, a box is put into the middle.
    page.locator("#draw-box").focus()
    press(page, "Enter")
    assert boxes(page)[-1] == pytest.approx([0.375 * 243, 0.375 * 220, 0.625 * 243, 0.625 * 220])
    page.click("#delete-object")
    page.click("#undo")
    page.select_option("#top-k", "10")
    settle(page)
    assert len(boxes(page)) == count + 2 and len(graph(page)["relations"]) <= 10
    page.click("#correct")
    expect(page.locator(".editor")).to_have_count(0)
    expect(page.locator("#status")).to_have_text("")
    assert page.evaluate("record.graph.objects.length") >= 1


def test_undo_while_a_hand_holds_the_box(page):
    before = boxes(page)
    page.locator("#draw-box").focus()
    press(page, "Enter")
    x1, y1, x2, y2 = boxes(page)[-1]
    page.mouse.move(*on_screen(page, (x1 + x2) / 2, (y1 + y2) / 2))
    page.mouse.down()
    page.mouse.move(*on_screen(page, x2, y2))
    page.keyboard.press("Control+z")
    page.mouse.move(*on_screen(page, x1, y1))
    page.mouse.up()
    settle(page)
    assert boxes(page) == before
    expect(page.locator("#undo")).to_be_disabled()
    assert_related(page)


def test_many_changes_are_one_question(page):
    asked = []
    page.on("request", lambda request: "relations" in request.url and asked.append(json.loads(request.post_data)))
    page.evaluate("""() => {
        for (let right = 100; right < 110; right++) {
            corrector.change((objects) => (objects[0].box = [40, 50, right, 120]), 0);
        }
    }""")
    settle(page)
    assert [one["boxes"][0] for one in asked] == [[40, 50, 109, 120]]
    assert_related(page)


def test_after_a_failure_the_download_asks_again(page):
    page.evaluate("() => { window.kept = fetch; window.fetch = () => Promise.reject(new TypeError('lost')); }")
    page.locator(BOXES).last.focus()
    page.keyboard.press("Shift+ArrowUp")
    expect(page.locator("#problem")).to_contain_text("does not answer")
    expect(page.locator(NOTE)).to_have_text("These boxes have no relations yet.")
    page.evaluate("() => { window.fetch = window.kept; }")
    with page.expect_download() as download:
        page.click("#save-corrected")
    corrected = json.loads(download.value.path().read_text("utf-8"))
    for entry, box in zip(corrected["objects"], boxes(page), strict=True):
        assert entry["box"] == pytest.approx(box, abs=0.01)
    expect(page.locator("#problem")).to_have_text("")


def test_downloads(page, predictor, tmp_path):
    page.locator(f'{BOXES}[data-box="{smallest(page)}"]').focus()
    page.keyboard.press("ArrowDown")

    def download(button):
        # It waits for the relations.
        with page.expect_download() as download:
            page.click(button)
        return download.value.suggested_filename, download.value.path().read_text("utf-8")

    name, text = download("#save-corrected")
    corrected = SceneGraph.from_dict(json.loads(text))
    assert name == "street_graph.json" and corrected.given.all() and corrected.file_name == "street.png"
    assert_related(page)
    name, text = download("#save-coco-sg")
    assert name == "street_graph.coco_sg.json"
    file = tmp_path / name
    file.write_text(text, "utf-8")
    labels = read_coco_sg(str(file), str(tmp_path))
    (image,) = labels.images
    assert not labels.problems
    assert tuple(labels.thing_classes) == tuple(predictor.class_names)
    assert tuple(labels.predicate_classes) == tuple(predictor.predicate_names)
    assert (image.file_name, image.height, image.width) == ("street.png", 220, 243)
    assert image.classes.tolist() == corrected.classes.tolist()
    assert image.boxes == pytest.approx(corrected.boxes.clip(0, [243, 220] * 2), abs=0.02)
    assert sorted(map(tuple, image.relations.tolist())) == sorted(map(tuple, corrected.triplets.tolist()))
    assert len(image.relations) > 0


def test_a_forgotten_image_is_sent_again(browser, predictor, scene):
    """Browsers report refused requests on the console, so that this page is not watched."""
    with running(ModelStore({"scenes": predictor}), Limits(max_remembered=1)) as server:
        server.wait_until_ready()
        page = browser.new_page()
        try:
            page.set_default_timeout(PATIENCE)
            page.goto(server.address)
            start(page, scene)
            page.locator(BOXES).last.focus()
            press(page, "Shift+ArrowUp")
            with server.client() as client:
                files = {"file": ("b.png", scene)}
                assert client.post("api/v1/explanations", files=files, params={"remember": True}).status_code == 200
            statuses = []
            page.on("response", lambda answer: statuses.append(answer.status))
            press(page, "Shift+ArrowUp")
            assert_related(page)
            assert statuses == [410, 200, 200]
            expect(page.locator("#problem")).to_have_text("")
        finally:
            page.close()


def test_touch_on_a_small_phone(browser, server, scene):
    options = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with watched_page(browser, server.address, served=True, **options) as page:
        start(page, scene)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator(".editor").scroll_into_view_if_needed()
        index = smallest(page)
        x1, y1, x2, y2 = boxes(page)[index]
        centre = (x1 + x2) / 2, (y1 + y2) / 2
        (x, y), (x_end, y_end) = on_screen(page, *centre), on_screen(page, centre[0], centre[1] - 15)
        finger = page.context.new_cdp_session(page)

        def touch(kind, *points):
            points = [{"x": x, "y": y} for x, y in points]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        before = page.evaluate("scrollY")
        touch("touchStart", (x, y))
        for share in (0.25, 0.5, 0.75, 1):
            touch("touchMove", (x + share * (x_end - x), y + share * (y_end - y)))
        touch("touchEnd")
        settle(page)
        assert boxes(page)[index] == pytest.approx([x1, y1 - 15, x2, y2 - 15], abs=1)
        assert page.evaluate("scrollY") == before
        assert_related(page)


def test_a_model_that_remembers_nothing_has_no_button(browser, scene):
    class Fake:
        def predict(self, source, channel_order=None, *, batch_size=1, threads=1):
            yield PredictedImage(source, SceneGraph([], [], [], [], [], source.shape[:2]))

    with running(ModelStore({"fake": Fake()}), Limits()) as server:
        with watched_page(browser, server.address, served=True) as page:
            page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": scene})
            expect(page.locator("#name")).to_contain_text("a.png")
            expect(page.locator("#vocabulary summary")).to_contain_text("its names are not known")
            expect(page.locator("#correct")).to_be_hidden()
