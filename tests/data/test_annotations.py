import re

import numpy as np
import pytest
from hypothesis import strategies as st

from egtr.data.datasets.annotations import (
    ERROR,
    UNKNOWN,
    WARNING,
    ImageAnnotations,
    Problem,
    SceneGraphAnnotations,
    leave_out_unsound,
    to_dataset_dicts,
)
from egtr.structures import DataError, EGTRError
from tests.properties import check, few_or_many


def make_image(**changes):
    """A sound image of 100 x 50 with two objects and one relation."""
    fields = {
        "image_id": 7,
        "file_name": "a.jpg",
        "height": 50,
        "width": 100,
        "boxes": [[10, 10, 20, 20], [30, 10, 40, 20]],
        "classes": [0, 1],
        "crowd": [False, False],
        "relations": [[0, 1, 0]],
    }
    return ImageAnnotations(**fields | changes)


def make(*images, **changes):
    return SceneGraphAnnotations(list(images), ["cat", "dog"], ["on", "near", "in"], "images", "file.json", **changes)


def found(annotations):
    return [(problem.kind, problem.severity) for problem in annotations.find_problems()]


def test_a_sound_image():
    annotations = make(make_image())
    assert found(annotations) == []
    assert annotations.first_error() is None
    assert to_dataset_dicts(annotations)[0]["relations"] == [[0, 1, 0]]


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"height": 0}, "bad-size", "image id 7, fields height and width are 0, 100"),
        ({"classes": [0, 2]}, "unknown-category", "image id 7, annotation 1: there is no class 2.*numbered 0..1"),
        ({"classes": [UNKNOWN, 1]}, "unknown-category", "annotation 0: there is no class -1"),
        ({"boxes": [[0, 0, 9, 9], [np.nan] * 4]}, "bad-box", "annotation 1: the box is not four finite numbers"),
        ({"boxes": [[0, 0, 9, np.inf], [0, 0, 9, 9]]}, "bad-box", "annotation 0"),
        ({"relations": [[0, 2, 0]]}, "missing-object", r"relation 0 = \[0, 2, 0\]: object 2 is not .* 2 annotations"),
        ({"relations": [[0, 1, 0], [-1, 1, 0]]}, "missing-object", r"relation 1 = \[-1, 1, 0\]: subject -1 is not"),
        ({"relations": [[0, 1, 3]]}, "unknown-predicate", r"relation 0 = \[0, 1, 3\]: predicates are numbered 0..2"),
    ],
)
def test_errors(changes, kind, words):
    annotations = make(make_image(image_id=1), make_image(**changes))
    assert found(annotations) == [(kind, ERROR)]
    assert not annotations.is_sound(annotations.images[1])
    with pytest.raises(EGTRError, match=rf"^file\.json: .*{words}"):
        to_dataset_dicts(annotations)


@pytest.mark.parametrize(
    "changes, kind, words, num_objects",
    [
        # A box that ends before it begins, one that leaves the image at the right, one wholly below it.
        ({"boxes": [[20, 10, 10, 20], [30, 10, 40, 20]]}, "empty-box", "annotation 0: box .* has no area", 1),
        ({"boxes": [[10, 10, 20, 20], [90, 10, 101, 20]]}, "box-outside", "annotation 1: .*100 x 50.* is clipped", 2),
        ({"boxes": [[10, 10, 20, 20], [30, 50, 40, 60]]}, "box-outside", "nothing of it is inside", 1),
        ({"relations": [[1, 1, 0]]}, "self-relation", "joins annotation 1 to itself", 2),
        ({"relations": [[0, 1, 0], [0, 1, 1], [0, 1, 0]]}, "duplicate-relation", r"\[0, 1, 0\]: is there 2 times", 2),
        ({"relations": []}, "no-relations", "there are no relations", 2),
        ({"boxes": [], "classes": [], "crowd": [], "relations": []}, "no-objects", "there are no objects", 0),
    ],
)
def test_warnings_do_not_keep_from_training(changes, kind, words, num_objects):
    annotations = make(make_image(**changes))
    (problem,) = annotations.find_problems()
    assert (problem.kind, problem.severity, problem.image_id) == (kind, WARNING, 7)
    assert re.search(words, problem.message)
    assert len(to_dataset_dicts(annotations)[0]["annotations"]) == num_objects


def test_repeated_image_ids():
    annotations = make(make_image(), make_image(file_name="b.jpg"), make_image(image_id=8))
    assert found(annotations) == [("repeated-image-id", ERROR)]
    with pytest.raises(EGTRError, match="image id 7 stands for 2 images"):
        to_dataset_dicts(annotations)


def test_numbers_in_messages_are_those_of_the_file():
    """With first_id 1 the file's predicate 4 is the 0-based 3; its relations may stand in another file."""
    image = make_image(relations=[[0, 1, 3], [0, 0, -1]], classes=[0, 2])
    messages = [p.message for p in make(image, first_id=1, relation_source="rel.json").find_problems()]
    assert messages == [
        "file.json: image id 7, annotation 1: there is no class 3; classes are numbered 1..2",
        "rel.json: image id 7, relation 0 = [0, 1, 4]: predicates are numbered 1..3",
        "rel.json: image id 7, relation 1 = [0, 0, 0]: predicates are numbered 1..3",
        "rel.json: image id 7, relation 1 = [0, 0, 0]: joins annotation 0 to itself",
    ]


def test_what_the_reader_explained_is_not_said_twice():
    image = make_image(
        height=0, classes=[0, UNKNOWN], boxes=[[0, 0, 9, 9], [np.nan] * 4], relations=[[0, UNKNOWN, 0]]
    )
    problem = Problem("bad-annotation", "file.json: image id 7, annotation id 12 is odd", 7)
    assert list(make(image, problems=[problem]).find_problems()) == [problem]
    # A warning explains nothing, nor does an error of another image.
    for other in (Problem("odd", "x", 7, WARNING), Problem("odd", "x", 8)):
        kinds = [kind for kind, _ in found(make(image, problems=[other]))]
        assert kinds == ["odd", "bad-size", "unknown-category", "bad-box", "missing-object"]


severities = st.sampled_from([ERROR, WARNING])


@st.composite
def _images(draw, image_id):
    number = draw(st.integers(0, 3))
    coordinate = st.sampled_from([-5.0, 0.0, 10.0, 60.0, 200.0, np.nan, np.inf, -np.inf])
    ids = st.integers(-2, 4)
    return ImageAnnotations(
        image_id,
        "a.jpg",
        draw(st.sampled_from([50, 50, 0, -3])),
        100,
        draw(st.lists(st.lists(coordinate, min_size=4, max_size=4), min_size=number, max_size=number)),
        draw(st.lists(ids, min_size=number, max_size=number)),
        draw(st.lists(st.booleans(), min_size=number, max_size=number)),
        draw(st.lists(st.tuples(ids, ids, ids), max_size=3)),
    )


@few_or_many(40, 100)
def test_an_unsound_image_always_has_a_problem(examples):
    check(examples, assert_unsound_images_have_problems, data=st.data())


def assert_unsound_images_have_problems(data):
    ids = data.draw(st.lists(st.integers(0, 2), max_size=3))
    images = [data.draw(_images(image_id)) for image_id in ids]
    problems = data.draw(st.lists(st.builds(Problem, st.just("odd"), st.just("x"), st.integers(0, 2), severities)))
    annotations = make(*images, problems=problems)
    errors = [problem for problem in annotations.find_problems() if problem.severity == ERROR]
    assert annotations.first_error() == (errors[0] if errors else None)
    for image in images:
        assert annotations.is_sound(image) or any(error.image_id == image.image_id for error in errors)
    if errors:
        with pytest.raises(EGTRError):
            to_dataset_dicts(annotations)
    else:
        assert len(to_dataset_dicts(annotations)) == len(images)
    # Leaving out the unsound ones keeps the others, unless the whole file is wrong.
    left_out = {error.image_id for error in errors}
    sound, named = leave_out_unsound(annotations)
    assert [problem.image_id for problem in named] == list(dict.fromkeys(error.image_id for error in errors))
    assert len(to_dataset_dicts(sound)) == sum(image.image_id not in left_out for image in images)


def test_unsound_images_are_left_out_and_named(caplog):
    images = make_image(), make_image(image_id=8, classes=[0, 9]), make_image(image_id=9, height=0)
    annotations = make(*images, problems=[Problem("odd", "file.json: 3 images are odd", severity=WARNING)])
    sound, left_out = leave_out_unsound(annotations)
    assert [image.image_id for image in sound.images] == [7] and sound.problems == annotations.problems
    assert [(problem.kind, problem.image_id) for problem in left_out] == [("unknown-category", 8), ("bad-size", 9)]
    assert "2 of 3 images have errors in their annotations and are left out" in caplog.text
    # Sound annotations stay as they are; an error of the whole file is still an error.
    assert leave_out_unsound(sound) == (sound, [])
    annotations.problems.append(Problem("odd", "file.json: is no dataset"))
    with pytest.raises(DataError, match="is no dataset"):
        leave_out_unsound(annotations)


def test_warnings_of_the_reader_are_logged(caplog):
    to_dataset_dicts(make(make_image(), problems=[Problem("odd", "file.json: 3 images are odd", severity=WARNING)]))
    assert "3 images are odd" in caplog.text
