import numpy as np
import pytest
from detectron2.data import transforms as T

from egtr.config import load_config
from egtr.config.defaults import get_egtr_cfg
from egtr.data import DETRResize, build_augmentation, detr_resize_shape
from egtr.data.transforms import RandomSelect
from egtr.structures import EGTRError


@pytest.mark.parametrize(
    "size, short_side, max_size, expected",
    [
        # 640 * 800 / 480 = 1066.67, cut off and not rounded (Detectron2's own rule gives 1067).
        ((480, 640), 800, 1333, (800, 1066)),
        ((640, 480), 800, 1333, (1066, 800)),
        # 500 * 800 / 333 = 1201.2
        ((333, 500), 800, 1333, (800, 1201)),
        # 3 * 800 = 2400 > 1333, so the short side is round(1333 / 3 = 444.33) and the long one 3 * 444.
        ((300, 900), 800, 1333, (444, 1332)),
        ((900, 300), 800, 1333, (1332, 444)),
        # 600 * 800 / 427 = 1124.1 stays below the limit.
        ((427, 800), 600, 1333, (600, 1124)),
        # Exactly at the limit: 800 * 1333 / 800, nothing to shorten.
        ((800, 1333), 800, 1333, (800, 1333)),
        # Images of Visual Genome. 1024 * 480 / 768 = 640; 1280 * 736 / 853 = 1104.4; 1024 * 800 / 375 = 2184.5 is
        # too long, so 1333 * 375 / 1024 = 488.2 and 1024 * 488 / 375 = 1332.6.
        ((768, 1024), 480, 1333, (480, 640)),
        ((1280, 853), 736, 1333, (1104, 736)),
        ((375, 1024), 800, 1333, (488, 1332)),
        # 500 * 544 / 375 = 725.3, 600 * 672 / 450 = 896 exactly.
        ((500, 375), 544, 1333, (725, 544)),
        ((450, 600), 672, 1333, (672, 896)),
        # Wider than the limit by far: round(1333 / 1000) = 1 row, and never none.
        ((1, 1000), 800, 1333, (1, 1000)),
        ((1, 3000), 800, 1333, (1, 3000)),
        # Half a pixel is rounded to even: round(1001 * 100 / 200 = 500.5) = 500.
        ((100, 200), 800, 1001, (500, 1000)),
        ((256, 256), 192, 1333, (192, 192)),
        # No limit.
        ((10, 1000), 20, 0, (20, 2000)),
    ],
)
def test_detr_resize_rule(size, short_side, max_size, expected):
    assert detr_resize_shape(*size, short_side, max_size) == expected


def test_resize_scales_image_and_boxes_together():
    aug_input = T.AugInput(np.zeros((48, 64, 3), dtype=np.uint8), boxes=np.array([[16.0, 12.0, 64.0, 48.0]]))
    DETRResize(80, 1333)(aug_input)
    # 64 * 80 / 48 = 106.67 -> 106 columns: x scales by 106 / 64, y by 80 / 48.
    assert aug_input.image.shape == (80, 106, 3)
    np.testing.assert_allclose(aug_input.boxes, [[26.5, 20.0, 106.0, 80.0]])


def test_sides_are_drawn_from_the_choices_or_the_range():
    image = np.zeros((50, 50, 3), dtype=np.uint8)
    np.random.seed(0)
    chosen = {DETRResize([40, 60, 70]).get_transform(image).new_h for _ in range(50)}
    assert chosen == {40, 60, 70}
    ranged = {DETRResize([60, 63], sample_style="range").get_transform(image).new_h for _ in range(80)}
    assert ranged == {60, 61, 62, 63}  # both ends included


def _cfg(**options):
    cfg = get_egtr_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.INPUT.MAX_SIZE_TRAIN = 128
    cfg.merge_from_list([item for key, value in options.items() for item in (key.replace("__", "."), value)])
    return cfg


def _output_sizes(cfg, is_train, count, shape=(50, 60, 3)):
    augmentations = T.AugmentationList(build_augmentation(cfg, is_train))
    sizes, kinds = [], []
    for _ in range(count):
        aug_input = T.AugInput(np.zeros(shape, dtype=np.uint8))
        transforms = augmentations(aug_input)
        sizes.append(aug_input.image.shape[:2])
        kinds.append([type(step).__name__ for step in transforms.transforms])
    return sizes, kinds


def test_plain_recipe_flips_half_of_the_images_and_resizes_all():
    np.random.seed(0)
    sizes, kinds = _output_sizes(_cfg(), True, 200)
    assert set(sizes) == {(64, 76)}  # 60 * 64 / 50 = 76.8
    flips = sum("HFlipTransform" in kind for kind in kinds)
    assert 70 < flips < 130  # half of 200 within four standard deviations
    assert not any("CropTransform" in kind for kind in kinds)


def test_crop_recipe_crops_half_of_the_images():
    np.random.seed(0)
    cfg = _cfg(INPUT__CROP__ENABLED=True, INPUT__CROP__PRE_RESIZE=[40, 50], INPUT__CROP__SIZE=[30, 45])
    sizes, kinds = _output_sizes(cfg, True, 200)
    cropped = ["CropTransform" in kind for kind in kinds]
    assert 70 < sum(cropped) < 130
    for size, was_cropped in zip(sizes, cropped, strict=True):
        assert min(size) == 64 if was_cropped else size == (64, 76)
    # Crops are 30..45 on either side, so their aspect differs from the image's 50:60.
    assert len({size for size, was_cropped in zip(sizes, cropped, strict=True) if was_cropped}) > 10


def test_egtrs_recipe_resizes_half_of_the_images_twice():
    np.random.seed(0)
    cfg = _cfg(INPUT__PRE_RESIZE=[40, 45], INPUT__RANDOM_FLIP="none")
    sizes, kinds = _output_sizes(cfg, True, 200)
    twice = [kind.count("ResizeTransform") == 2 for kind in kinds]
    assert 70 < sum(twice) < 130 and {name for kind in kinds for name in kind} == {"ResizeTransform"}
    # 50 x 60 becomes 64 x 76 (76.8). By way of 40 x 48 it is 76.8 again; by way of 45 x 54, 54 * 64 / 45 = 76.8.
    assert set(sizes) == {(64, 76)}
    # 50 x 99: 64 x 126 (126.7). 40 x 79 (79.2) gives 79 * 64 / 40 = 126.4, 45 x 89 (89.1) gives 126.6: all alike.
    # 30 x 59 (59.4) gives 59 * 64 / 30 = 125.9: one column less.
    sizes, _ = _output_sizes(_cfg(INPUT__PRE_RESIZE=[30]), True, 60, shape=(50, 99, 3))
    assert set(sizes) == {(64, 126), (64, 125)}


def test_a_crop_larger_than_the_image_takes_what_there_is():
    np.random.seed(0)
    cfg = _cfg(INPUT__CROP__ENABLED=True, INPUT__CROP__PRE_RESIZE=[40], INPUT__CROP__SIZE=[384, 600])
    sizes, kinds = _output_sizes(cfg, True, 20)
    # 40 x 48 before the crop, which is below its least side: the whole image, 48 * 64 / 40 = 76.8.
    assert set(sizes) == {(64, 76)}
    assert any("CropTransform" in kind for kind in kinds)


def test_no_flip_and_test_time():
    _, kinds = _output_sizes(_cfg(INPUT__RANDOM_FLIP="none"), True, 20)
    assert {tuple(kind) for kind in kinds} == {("ResizeTransform",)}
    sizes, kinds = _output_sizes(_cfg(INPUT__MIN_SIZE_TEST=100, INPUT__MAX_SIZE_TEST=110), False, 3)
    # 100 * 60 / 50 = 120 > 110: short side round(110 * 50 / 60 = 91.67) = 92, long int(92 * 1.2 = 110.4).
    assert set(sizes) == {(92, 110)}
    sizes, kinds = _output_sizes(_cfg(INPUT__MIN_SIZE_TEST=0), False, 1)
    assert sizes == [(50, 60)] and kinds == [[]]


SIDES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


def test_recipes_of_the_paper():
    """The detector is trained with crops, EGTR without; both with the same flip and resize."""
    cfgs = [load_config(f"egtr://configs/{name}.yaml") for name in ("vg150_detector", "vg150_egtr")]
    detector, egtr = (build_augmentation(cfg, is_train=True) for cfg in cfgs)
    for flip in (detector[0], egtr[0]):
        assert isinstance(flip, T.RandomFlip) and (flip.horizontal, flip.vertical, flip.prob) == (True, False, 0.5)
    (select,), (select_egtr,) = detector[1:], egtr[1:]
    before_crop, crop, after_crop = select.second.augs
    before, after = select_egtr.second.augs
    assert select.prob == select_egtr.prob == 0.5
    for step in (select.first, after_crop, select_egtr.first, after):
        assert (step.short_sides, step.max_size, step.sample_style) == (SIDES, 1333, "choice")
    for step in (before_crop, before):
        assert (step.short_sides, step.max_size) == ((400, 500, 600), 0)
    assert (crop.crop_type, list(crop.crop_size)) == ("absolute_range", [384, 600])
    for cfg in cfgs:
        (test_time,) = build_augmentation(cfg, is_train=False)
        assert (test_time.short_sides, test_time.max_size) == ((800,), 1333)


def test_random_select_runs_one_whole_branch():
    first = T.AugmentationList([DETRResize(20), DETRResize(30)])
    second = T.AugmentationList([DETRResize(40)])
    for prob, expected in ((1.0, 30), (0.0, 40)):
        aug_input = T.AugInput(np.zeros((10, 10, 3), dtype=np.uint8))
        RandomSelect(first, second, prob)(aug_input)
        assert aug_input.image.shape == (expected, expected, 3)


@pytest.mark.parametrize(
    "options, key",
    [
        ({"INPUT__RANDOM_FLIP": "sideways"}, "INPUT.RANDOM_FLIP"),
        ({"INPUT__MIN_SIZE_TRAIN": ()}, "INPUT.MIN_SIZE_"),
        ({"INPUT__MIN_SIZE_TRAIN": (0, 64)}, "INPUT.MIN_SIZE_"),
        ({"INPUT__MIN_SIZE_TRAIN_SAMPLING": "all"}, "INPUT.MIN_SIZE_TRAIN_SAMPLING"),
        (
            {"INPUT__MIN_SIZE_TRAIN_SAMPLING": "range", "INPUT__MIN_SIZE_TRAIN": (1, 2, 3)},
            "INPUT.MIN_SIZE_TRAIN",
        ),
        ({"INPUT__CROP__ENABLED": True, "INPUT__CROP__TYPE": "relative"}, "INPUT.CROP.TYPE"),
        ({"INPUT__CROP__ENABLED": True, "INPUT__PRE_RESIZE": [400]}, "INPUT.PRE_RESIZE is .*CROP.PRE_RESIZE"),
        ({"INPUT__CROP__ENABLED": True, "INPUT__CROP__SIZE": [600, 384]}, "INPUT.CROP.SIZE"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_key(options, key):
    with pytest.raises(EGTRError, match=key):
        build_augmentation(_cfg(**options), is_train=True)
