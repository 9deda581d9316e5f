"""Hypothesis strategies for what an annotation file may say."""

import itertools

import numpy as np
from hypothesis import strategies as st

from egtr.data.datasets.annotations import ImageAnnotations, SceneGraphAnnotations

names = st.text(min_size=1, max_size=8)
file_names = st.sampled_from(["a.jpg", "ein Bild.png", "写真/1.jpg", "images/../x.jpg", 'a"b.jpg', "train2017/3.jpg"])


@st.composite
def image_annotations(draw, image_id, num_classes, num_predicates, *, crowds=True, flat_boxes=True):
    """One image: boxes at sixteenths of a pixel, inside and outside it, and any relations between them."""
    height, width = draw(
        st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.sampled_from([(1, 3000), (768, 1024)])
    )
    number = draw(st.integers(0, 4))

    def span(side):
        """Two ends; the first before the second unless ``flat_boxes``."""
        sixteenths = st.integers(-16, 16 * side + 32)
        first, second = draw(sixteenths), draw(sixteenths)
        if not flat_boxes:
            first, second = min(first, second), max(first, second) + 1
        return first / 16, second / 16

    spans = [(span(width), span(height)) for _ in range(number)]
    ends = st.integers(0, number - 1)
    relations = st.lists(st.tuples(ends, ends, st.integers(0, num_predicates - 1)), max_size=5)
    return ImageAnnotations(
        image_id=image_id,
        file_name=draw(file_names),
        height=height,
        width=width,
        boxes=[[x1, y1, x2, y2] for (x1, x2), (y1, y2) in spans],
        classes=draw(st.lists(st.integers(0, num_classes - 1), min_size=number, max_size=number)),
        crowd=draw(st.lists(st.booleans(), min_size=number, max_size=number)) if crowds else [False] * number,
        relations=draw(relations) if number and num_predicates else [],
    )


@st.composite
def scene_graph_annotations(draw, ids=None, class_names=None, predicate_names=None, **options):
    """A split: images with ids in any order, with gaps, numbers or texts; annotation ids likewise, or none."""
    classes = draw(st.lists(names, min_size=1, max_size=4, unique=True)) if class_names is None else class_names
    predicates = draw(st.lists(names, max_size=3, unique=True)) if predicate_names is None else predicate_names
    if ids is None:
        # As text they differ too, which rel.json needs.
        ids = draw(st.lists(st.integers(0, 10**9) | st.sampled_from(["a", "café", "1f"]), max_size=4, unique=True))
    images = [draw(image_annotations(k, len(classes), len(predicates), **options)) for k in ids]
    number = sum(len(image.boxes) for image in images)
    if draw(st.booleans()):
        numbers = iter(draw(st.permutations(range(5, 5 + 3 * number, 3))))
        for image in images:
            image.annotation_ids = list(itertools.islice(numbers, len(image.boxes)))
    return SceneGraphAnnotations(images, classes, predicates, "images", "source.json")


def assert_same(actual, expected, pixels=1e-7):
    """The same images, objects and relations in the same order; boxes to ``pixels``."""
    assert list(actual.thing_classes) == list(expected.thing_classes)
    assert list(actual.predicate_classes) == list(expected.predicate_classes)
    assert [image.image_id for image in actual.images] == [image.image_id for image in expected.images]
    assert [type(image.image_id) for image in actual.images] == [type(image.image_id) for image in expected.images]
    for image, other in zip(actual.images, expected.images, strict=True):
        assert (image.file_name, image.height, image.width) == (other.file_name, other.height, other.width)
        assert image.boxes.shape == other.boxes.shape
        scale = pixels if isinstance(pixels, float) else pixels(other)
        assert np.abs(image.boxes - other.boxes).max(initial=0) <= scale
        np.testing.assert_array_equal(image.classes, other.classes)
        np.testing.assert_array_equal(image.crowd, other.crowd)
        np.testing.assert_array_equal(image.relations, other.relations)
