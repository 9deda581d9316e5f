"""DETR's resize rule and the augmentation recipes of the paper, as Detectron2 augmentations."""

from collections.abc import Sequence

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from egtr.structures import ConfigurationError

from .resizing import detr_resize_shape


class DETRResize(T.Augmentation):
    """Resize by :func:`detr_resize_shape` to a short side that is drawn for each image.

    Args:
        short_sides: sides to draw from with equal chance, or [least, most] if ``sample_style`` is "range".
        max_size: largest long side, pixels; 0: no limit.
        sample_style: "choice" or "range".
    """

    def __init__(self, short_sides: int | Sequence[int], max_size: int = 0, sample_style: str = "choice"):
        super().__init__()
        short_sides = (short_sides,) if isinstance(short_sides, int) else tuple(short_sides)
        if not short_sides or min(short_sides) <= 0:
            raise ConfigurationError(
                f"Short sides {short_sides} (INPUT.MIN_SIZE_*) must be positive numbers of pixels."
            )
        if sample_style not in ("choice", "range"):
            raise ConfigurationError(f"INPUT.MIN_SIZE_TRAIN_SAMPLING is {sample_style!r}; take 'choice' or 'range'.")
        if sample_style == "range" and len(short_sides) > 2:
            raise ConfigurationError(
                f"With sampling 'range', INPUT.MIN_SIZE_TRAIN is (least, most), not {short_sides}."
            )
        self._init({"short_sides": short_sides, "max_size": max_size, "sample_style": sample_style})

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if self.sample_style == "range":
            short_side = int(np.random.randint(self.short_sides[0], self.short_sides[-1] + 1))
        else:
            short_side = int(np.random.choice(self.short_sides))
        new_height, new_width = detr_resize_shape(height, width, short_side, self.max_size)
        if (new_height, new_width) == (height, width):
            return NoOpTransform()
        return T.ResizeTransform(height, width, new_height, new_width)


class RandomSelect(T.Augmentation):
    """Apply ``first`` with probability ``prob``, else ``second``."""

    def __init__(self, first: T.Augmentation, second: T.Augmentation, prob: float = 0.5):
        super().__init__()
        self._init({"first": first, "second": second, "prob": prob})

    # A branch may be a sequence whose later members depend on the result of the earlier ones. The input itself has to
    # go through them, since get_transform would see only the original image.
    def __call__(self, aug_input: T.AugInput) -> Transform:
        chosen = self.first if np.random.rand() < self.prob else self.second
        return chosen(aug_input)


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Build the augmentations of the paper's recipe (its implementation details).

    Training: a flip (INPUT.RANDOM_FLIP), then a resize to a short side out of INPUT.MIN_SIZE_TRAIN. With
    INPUT.CROP.ENABLED, which the paper uses only for the detector, half of the images are first resized to
    a short side out of INPUT.CROP.PRE_RESIZE and cropped to sides in INPUT.CROP.SIZE. With INPUT.PRE_RESIZE, as for
    EGTR itself, half of them are first resized to a short side out of it, without a crop. Testing: only the resize
    to INPUT.MIN_SIZE_TEST, or nothing if that is 0.

    Returns:
        Augmentations, to be applied in order.

    Raises:
        ConfigurationError: a key holds a meaningless value; the message names the key.
    """
    if not is_train:
        if cfg.INPUT.MIN_SIZE_TEST == 0:
            return []
        return [DETRResize(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]

    augmentations = []
    flip = cfg.INPUT.RANDOM_FLIP
    if flip not in ("none", "horizontal", "vertical"):
        raise ConfigurationError(f"INPUT.RANDOM_FLIP is {flip!r}; take 'none', 'horizontal' or 'vertical'.")
    if flip != "none":
        horizontal = flip == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))

    resize = DETRResize(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING)
    crop, pre_resize = cfg.INPUT.CROP, cfg.INPUT.PRE_RESIZE
    if not crop.ENABLED:
        if not pre_resize:
            return [*augmentations, resize]
        return [*augmentations, RandomSelect(resize, T.AugmentationList([DETRResize(pre_resize), resize]))]
    if pre_resize:
        raise ConfigurationError(
            f"INPUT.PRE_RESIZE is {list(pre_resize)} and INPUT.CROP.ENABLED True; the sides before a crop are "
            "INPUT.CROP.PRE_RESIZE, so that INPUT.PRE_RESIZE has to be []."
        )
    if crop.TYPE != "absolute_range":
        raise ConfigurationError(f"INPUT.CROP.TYPE is {crop.TYPE!r}; the recipe's crop is 'absolute_range'.")
    if len(crop.SIZE) != 2 or not 1 <= crop.SIZE[0] <= crop.SIZE[1]:
        raise ConfigurationError(f"INPUT.CROP.SIZE is {list(crop.SIZE)}; it has to be [least, most], in pixels.")
    size = [int(side) for side in crop.SIZE]
    cropped = T.AugmentationList([DETRResize(crop.PRE_RESIZE), T.RandomCrop(crop.TYPE, size), resize])
    return [*augmentations, RandomSelect(resize, cropped)]
