"""The page of a report in a real browser: every way to use it, and that it requests nothing.

All but one are slow, since each opens the page again.
"""

import dataclasses

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from egtr.structures import SceneGraph
from egtr.visualization.draw import object_names
from egtr.visualization.palette import object_colors
from egtr.visualization.report import ReportWriter
from egtr.visualization.report.assets import NUM_COLORS
from tests.browsing import DARK, LIGHT, watched_page
from tests.visualization.report_scenes import CALIBRATION, EVIL, make_image


def write(path, images):
    with ReportWriter(path) as report:
        for image in images:
            report.add(image)
    return path.as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Three images: annotated ones with a recall of a half, and one from elsewhere, without explanations."""
    images = [
        make_image("b street.jpg"),
        make_image("a <i>beach</i>.jpg", color=(250, 200, 120)),
        make_image("c plain.jpg", explained=False, annotated=False),
    ]
    return write(tmp_path_factory.mktemp("report") / "report.html", images)


@pytest.fixture
def page(browser, address):
    with watched_page(browser, address) as page:
        expect(page.locator("#name")).to_have_text("b street.jpg")
        yield page


def prediction(page):
    return page.locator("[data-panel=prediction]")


def truth(page):
    return page.locator("[data-panel=truth]")


def point_of_edge(page, row):
    """Where on the page the middle of an edge of the first graph is drawn."""
    return page.evaluate(
        """async (row) => {
            const { network, root } = viewer.panels.prediction.networkView;
            while (network.physics.physicsEnabled) await new Promise((ready) => setTimeout(ready, 20));
            const { x, y } = network.canvasToDOM(network.body.edges[row].edgeType.getPoint(0.5));
            const frame = root.getBoundingClientRect();
            return [x + frame.left, y + frame.top];
        }""",
        row,
    )


def test_what_is_there(page):
    expect(page.locator("#summary")).to_have_text("3 images · R@20 50.0% · R@50 50.0% · R@100 50.0%")
    expect(page.locator("#facts")).to_have_text("recall of this image: R@20 50% · R@50 50% · R@100 50%")
    expect(page.locator(".row")).to_have_count(3)
    expect(prediction(page).locator(".triplets li")).to_have_count(2)
    expect(prediction(page).locator(".overlay .box")).to_have_count(3)
    # Names are text, whatever they look like.
    expect(prediction(page).locator(".triplets li").nth(1)).to_contain_text(EVIL)
    assert page.locator("img[src=x]").count() == 0
    assert page.locator(".row img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 160


@pytest.mark.slow
def test_warnings_stand_above_the_image(browser, tmp_path):
    doubtful, sure = make_image("a.jpg"), make_image("b.jpg", annotated=False)
    doubtful.graph.warnings = ("the model <b>x</b> knows no horses", "and no men")
    with watched_page(browser, write(tmp_path / "report.html", [doubtful, sure])) as page:
        banner = page.locator(".warnings")
        expect(banner.locator("p")).to_have_text(
            ["Beware: the model <b>x</b> knows no horses.", "Beware: and no men."]
        )
        assert banner.bounding_box()["y"] < prediction(page).bounding_box()["y"]
        page.keyboard.press("ArrowDown")
        expect(page.locator("#name")).to_have_text("b.jpg")
        expect(banner).to_be_hidden()


@pytest.mark.slow
def test_reliability(page):
    dialog = page.locator("#reliability")
    expect(dialog).to_be_hidden()
    button = page.locator("#show-reliability")
    # Two images with relations of scores 0.8 (right) and 0.4 (wrong).
    expect(button).to_have_text("ECE 0.300")
    button.click()
    expect(dialog).to_contain_text("4 relations and 6 objects chosen by rank in 2 annotated images")
    expect(dialog).to_contain_text("chances of being annotated, not of being true")
    assert dialog.locator("svg").count() == 2
    # Two bins, of which each has a square with its numbers.
    squares = dialog.locator("svg").first.locator(".score rect")
    assert [title.text_content() for title in squares.locator("title").all()] == [
        "2 relations: stated 0.40, annotated 0.00",
        "2 relations: stated 0.80, annotated 1.00",
    ]
    # Keys belong to the dialog while it is open.
    page.keyboard.press("ArrowDown")
    expect(page.locator("#name")).to_have_text("b street.jpg")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("r")
    expect(dialog).to_be_visible()
    page.locator("#close-reliability").click()
    expect(dialog).to_be_hidden()


@pytest.mark.slow
def test_reliability_of_probabilities_and_of_nothing(browser, tmp_path):
    with ReportWriter(tmp_path / "report.html", calibration=CALIBRATION, exhaustive=True) as report:
        report.add(make_image())
    with watched_page(browser, report.path.as_uri()) as page:
        expect(page.locator("#show-reliability")).to_have_text("ECE 0.400")
        page.keyboard.press("r")
        expect(page.locator("#reliability tbody th").nth(1)).to_have_text("relations, by probability")
        expect(page.locator("#reliability")).to_contain_text("asked precision")
        expect(page.locator("#reliability .beware")).to_have_count(0)
    with watched_page(browser, write(tmp_path / "plain.html", [make_image(annotated=False)])) as page:
        expect(page.locator("#name")).to_have_text("street.jpg")
        expect(page.locator("#show-reliability")).to_be_hidden()
        page.keyboard.press("r")
        expect(page.locator("#reliability")).to_be_hidden()


@pytest.mark.slow
def test_hits_and_misses(page):
    found, missed = truth(page).locator(".triplets button").all()
    expect(found).to_have_class("hit")
    expect(found).to_contain_text("✓ rank 1")
    expect(missed).to_have_class("miss")
    expect(missed).to_contain_text("✗ missed")
    expect(prediction(page).locator(".triplets button").nth(0)).to_have_class("hit")
    expect(prediction(page).locator(".triplets button").nth(1)).to_have_class("plain")
    # A hit lights up on both sides.
    found.hover()
    expect(prediction(page).locator(".triplets button.lit")).to_contain_text("rides")
    expect(page.locator(".explanation")).to_contain_text("Found at rank 1")
    missed.hover()
    expect(prediction(page).locator(".triplets button.lit")).to_have_count(0)
    expect(page.locator(".explanation")).to_contain_text("Missed")


@pytest.mark.parametrize("part", ["list", "image", "graph"])
@pytest.mark.slow
def test_hovering_an_edge_lights_its_boxes_and_explains_it(page, part):
    if part == "list":
        prediction(page).locator(".triplets button").nth(0).hover()
    elif part == "image":
        prediction(page).locator(".overlay [data-row='0'] .reach").hover()
    else:
        page.mouse.move(*point_of_edge(page, 0))
    lit = prediction(page).locator(".overlay .box.lit")
    expect(lit).to_have_count(2)
    assert {box.get_attribute("data-object") for box in lit.all()} == {"0", "1"}
    expect(prediction(page).locator(".overlay .points circle")).to_have_count(8)
    explanation = page.locator(".explanation")
    expect(explanation.locator("h3")).to_have_text("man – rides – horse")
    bars = {
        row.locator("th").inner_text(): row.locator(".number").inner_text()
        for row in explanation.locator(".bars tr").all()
    }
    assert bars["layer 0"] == "+1.50" and bars["last state"] == "−0.50" and bars["logit"] == "+2.00"
    assert explanation.locator(".gates .number").all_inner_texts() == ["0.50", "0.25"]
    assert explanation.locator(".heat").first.locator("td").all_inner_texts() == [".10", ".20", ".30", ".40"]
    page.mouse.move(2, 2)
    expect(lit).to_have_count(0)


@pytest.mark.slow
def test_an_edge_stays_chosen_until_it_is_let_go(page):
    prediction(page).locator(".triplets button").nth(1).click()
    page.mouse.move(2, 2)
    expect(prediction(page).locator(".triplets button").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".explanation h3")).to_contain_text('is "near" & <b>')
    page.keyboard.press("Escape")
    expect(page.locator(".explanation")).to_contain_text("Point at an edge")


@pytest.mark.slow
def test_objects_of_a_class_are_numbered_from_left_to_right(page):
    """As in drawings, so that a page and a drawing of the same graph have the same names."""
    graph = SceneGraph(
        boxes=[[50, 0, 90, 10], [0, 0, 60, 10], [0, 0, 9, 9], [50, 5, 90, 10]],
        classes=[0, 0, 1, 0],
        scores=np.ones(4),
        triplets=[],
        triplet_scores=[],
        image_size=(10, 90),
        class_names=("man", "dog"),
    )
    # Centres of the men are at 70, 30 and 70: of two that are level the first one comes first.
    assert object_names(graph) == ["man 2", "man 1", "dog", "man 3"]
    assert page.evaluate("objects => objectNames(objects)", graph.to_dict()["objects"]) == object_names(graph)


@pytest.mark.slow
def test_annotated_objects_are_called_as_those_that_stand_for_them(page):
    # Predicted are two men and a dog. The second man stands for the first annotated one; a third has no match.
    names = page.evaluate(
        """() => annotatedNames(
            {
                truth: { objects: ["man", "man", "dog", "man", "cat"].map((name) => ({ class: name })) },
                twins: [1, 0, 2, null, null],
            },
            ["man 1", "man 2", "dog"],
        )"""
    )
    assert names == ["man 2", "man 1", "dog", "man 3", "cat"]


@pytest.mark.slow
def test_touching_an_object_goes_through_its_edges(page):
    label = prediction(page).locator(".overlay .label[data-object='0']")
    label.click()
    expect(page.locator(".explanation h3")).to_have_text("man – rides – horse")
    label.click()
    expect(page.locator(".explanation h3")).to_contain_text("near")


@pytest.mark.slow
def test_slider(page):
    slider = page.locator("#score")
    # The scores are 0.8 and 0.4; the slider stands for the square root.
    slider.fill("70")
    expect(page.locator("#score-value")).to_have_text("0.49")
    expect(prediction(page).locator(".triplets li:visible")).to_have_count(1)
    expect(prediction(page).locator(".overlay .box")).to_have_count(2)
    expect(prediction(page).locator("h2")).to_have_text("Prediction · 1 relation shown, 1 hidden")
    assert page.evaluate("viewer.panels.prediction.networkView.edges.get(1).hidden")
    slider.fill("100")
    expect(prediction(page).locator(".triplets li:visible")).to_have_count(0)
    # Annotations have no score.
    expect(truth(page).locator(".triplets li:visible")).to_have_count(2)


@pytest.mark.slow
def test_filters(page):
    assert page.locator("#class option").all_inner_texts() == ["all", EVIL, "horse", "man"]
    page.locator("#class").select_option("horse")
    expect(prediction(page).locator(".triplets li:visible")).to_have_count(1)
    page.locator("#class").select_option("")
    page.locator("#predicate").select_option('is "near" & <b>')
    expect(prediction(page).locator(".triplets li:visible")).to_contain_text(["near"])
    expect(truth(page).locator(".triplets li:visible")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("3 of 3 images")


SEARCHED = {
    "names": ["person", "riding", "horse", "near", "traffic light", "woman", 'a "red" hat', "is", "zebra"],
    "recall": {},
    "images": [
        {"name": "0.png", "objects": [0, 2], "edges": [[0, 1, 2, 0.5]]},
        {"name": "1.png", "objects": [0, 2], "edges": [[2, 1, 0, 0.5]]},
        # All three words, in other triplets.
        {"name": "2.png", "objects": [0, 2, 4], "edges": [[0, 3, 4, 0.5], [2, 1, 4, 0.5]]},
        {"name": "person on horse.png", "objects": [8], "edges": []},
        # Only annotated.
        {"name": "4.png", "objects": [0, 2], "edges": [], "truth": [[0, 1, 2]]},
        {"name": "5.png", "objects": [5, 2, 6], "edges": [[5, 1, 2, 0.5], [5, 7, 6, 0.5]]},
    ],
}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("person riding horse", [0, 4]),
        ("Horse  Riding\tperson", [1]),
        ('"person riding horse"', [0, 4]),
        # Ends of triplets; a whole class, so that a woman is no man.
        ("riding horse", [0, 4, 5]),
        ("person riding", [0, 4]),
        ("man riding horse", [5]),
        ('"man riding horse"', []),
        ("person near traffic light", [2]),
        ("traffic near", [2]),
        # Words that are no triplet, in any order and place.
        ("horse person", [0, 1, 2, 3, 4]),
        ("riding", [0, 1, 2, 4, 5]),
        ("riding horse 4.png", [4]),
        ("hors", [0, 1, 2, 3, 4, 5]),
        ('"horse.png"', [3]),
        ("zebra", [3]),
        ('"red"', [5]),
        ('woman is a "red" hat', [5]),
        ('"', [0, 1, 2, 3, 4, 5]),
        ("", [0, 1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.slow
def test_search_for_triplets_and_words(search_page, query, found):
    choose = "([index, query]) => new ImageIndex(index).choose(query, readFilter(), 'order')"
    assert search_page.evaluate(choose, [SEARCHED, query]) == found


@pytest.fixture(scope="module")
def search_page(browser, address):
    with watched_page(browser, address) as page:
        yield page


@pytest.mark.slow
def test_a_class_without_relations_is_filtered_for(search_page):
    count = "([index, filter]) => index.images.map((entry) => new ImageIndex(index).countEdges(entry, filter))"
    zebra = {"minScore": 0, "className": "zebra", "predicate": ""}
    assert search_page.evaluate(count, [SEARCHED, zebra]) == [-1, -1, -1, 0, -1, -1]
    assert search_page.evaluate(count, [SEARCHED, {**zebra, "predicate": "riding"}]) == [-1] * 6


@pytest.mark.slow
def test_search(page):
    page.keyboard.press("/")
    page.keyboard.type("<I>bea RIDES")
    expect(page.locator("#count")).to_have_text("1 of 3 images")
    expect(page.locator("#name")).to_have_text("a <i>beach</i>.jpg")
    page.locator("#search").fill("zebra")
    expect(page.locator(".row")).to_have_count(0)
    expect(page.locator("#count")).to_contain_text("No image matches. Clear the search")
    page.keyboard.press("Escape")
    expect(page.locator(".row")).to_have_count(3)


@pytest.mark.slow
def test_controls_stand_in_one_row_and_names_in_one_piece(page):
    title, last = page.locator("#title").bounding_box(), page.locator("#theme").bounding_box()
    assert last["y"] < title["y"] + title["height"]
    # A narrow list breaks between names, never in one: each has a single rectangle.
    page.add_style_tag(content=".triplets { width: 8rem; }")
    chips = prediction(page).locator(".chip")
    assert chips.evaluate_all("chips => chips.map((chip) => chip.getClientRects().length)") == [1] * 4


@pytest.mark.slow
def test_sort(page):
    names = page.locator(".row .name")
    expect(names).to_have_text(["b street.jpg", "a <i>beach</i>.jpg", "c plain.jpg"])
    page.locator("#sort").select_option("name")
    expect(names).to_have_text(["a <i>beach</i>.jpg", "b street.jpg", "c plain.jpg"])
    # Of equal recall in the order in which they came; without annotations last.
    page.locator("#sort").select_option("recall")
    expect(names).to_have_text(["b street.jpg", "a <i>beach</i>.jpg", "c plain.jpg"])


@pytest.mark.slow
def test_keyboard(page):
    page.keyboard.press("ArrowRight")
    expect(page.locator(".explanation h3")).to_have_text("man – rides – horse")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".explanation h3")).to_contain_text("near")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#name")).to_have_text("a <i>beach</i>.jpg")
    expect(page.locator(".row[aria-selected=true] .name")).to_have_text("a <i>beach</i>.jpg")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#name")).to_have_text("b street.jpg")
    page.keyboard.press("g")
    expect(truth(page)).to_be_hidden()
    expect(page.locator("#compare")).to_have_attribute("aria-pressed", "false")
    # Letters are typed, not commands, where there is something to type into.
    page.locator("#search").fill("")
    page.locator("#search").press_sequentially("g")
    expect(page.locator("#search")).to_have_value("g")
    expect(truth(page)).to_be_hidden()


@pytest.mark.slow
def test_without_annotations_and_explanations(page):
    page.locator(".row", has_text="c plain").click()
    expect(page.locator("#name")).to_have_text("c plain.jpg")
    expect(truth(page)).to_be_hidden()
    expect(page.locator("#compare")).to_be_hidden()
    prediction(page).locator(".triplets button").first.click()
    expect(page.locator(".explanation")).to_contain_text("No explanation")


@pytest.mark.slow
def test_triplets_are_within_the_first_screen(browser, address):
    with watched_page(browser, address, viewport={"width": 1400, "height": 900}) as page:
        for panel in (prediction(page), truth(page)):
            expect(panel.locator("h2")).to_contain_text("· 2 relations")
            box = panel.locator(".triplets").bounding_box()
            assert box["y"] + box["height"] <= 900


def test_labels_are_as_wide_as_their_text(browser, tmp_path):
    image = make_image("a.jpg", annotated=False, explained=False)
    for names in (("WWWWMMMMWWWWMMMMWWWW", "iiiiiiii", "一个很长的名字一个很长的名字"), ("M", "i", "名")):
        graph = dataclasses.replace(image.graph, class_names=names)
        address = write(tmp_path / "report.html", [dataclasses.replace(image, graph=graph)])
        with watched_page(browser, address) as page:
            expect(page.locator(".overlay .label")).to_have_count(3)
            for label in page.locator(".overlay .label").all():
                plate, text = (label.locator(part).bounding_box() for part in ("rect", "text"))
                assert plate["x"] < text["x"] and text["x"] + text["width"] < plate["x"] + plate["width"]
                assert plate["width"] < text["width"] + 16


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_of_hits_and_misses_are_no_colors_of_objects(browser, address, scheme):
    with watched_page(browser, address, color_scheme=scheme) as page:
        names = ["hit", "hit-lit", "miss", "miss-lit"]
        colors = page.evaluate(
            "names => names.map((name) => resolveColor(name).match(/[\\d.]+/g).map(Number))", names
        )
    verdicts = np.array(colors, dtype=np.float32)[None, :, :3] / 255
    objects = object_colors(NUM_COLORS).astype(np.float32)[None]
    distances = np.linalg.norm(
        cv2.cvtColor(verdicts, cv2.COLOR_RGB2LAB)[0][:, None] - cv2.cvtColor(objects, cv2.COLOR_RGB2LAB)[0], axis=-1
    )
    # CIE 1976; about 2 can just be told apart.
    assert distances.min() > 25


def test_dark_and_light(browser, address):
    for scheme, before, after in (("light", LIGHT, DARK), ("dark", DARK, LIGHT)):
        with watched_page(browser, address, color_scheme=scheme) as page:
            body = page.locator("body")
            expect(body).to_have_css("background-color", before)
            page.locator("#theme").click()
            expect(body).to_have_css("background-color", after)
            page.keyboard.press("d")
            expect(body).to_have_css("background-color", before)


@pytest.mark.slow
def test_phone(browser, address):
    with watched_page(browser, address, viewport={"width": 360, "height": 740}, has_touch=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        expect(page.locator("#list")).to_be_hidden()
        page.locator("#toggle-list").tap()
        page.locator(".row").nth(1).tap()
        expect(page.locator("#list")).to_be_hidden()
        expect(page.locator("#name")).to_have_text("a <i>beach</i>.jpg")
        page.touchscreen.tap(*tap_point(page))
        expect(page.locator(".explanation h3")).to_have_text("man – rides – horse")


def tap_point(page):
    prediction(page).locator(".network").scroll_into_view_if_needed()
    return point_of_edge(page, 0)


@pytest.mark.slow
def test_many_images_are_decoded_near_the_visible_part_alone(browser, tmp_path):
    names = [f"image {number:03}.jpg" for number in range(500)]
    address = write(tmp_path / "many.html", (make_image(name, explained=False) for name in names))
    with watched_page(browser, address) as page:
        seen = set()
        for place in range(0, 500, 5):
            page.locator("#rows").evaluate("(rows, top) => { rows.scrollTop = top; }", place * 72)
            # Rows are drawn after the scroll, and the first of these may be there from the last step.
            for name in (names[place], names[place + 4]):
                expect(page.locator(".row", has_text=name)).to_be_visible()
            assert page.locator("img").count() < 30
            seen.update(page.locator(".row .name").all_inner_texts())
        assert seen == set(names)
        page.locator("#search").fill("499")
        expect(page.locator("#count")).to_have_text("1 of 500 images")
        expect(page.locator("#name")).to_have_text("image 499.jpg")
