"""Detectron2's transforms of boxes and points, in exact arithmetic."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, HFlipTransform, NoOpTransform, Transform, VFlipTransform


def flatten(transforms: Iterable[Transform]) -> Iterator[Transform]:
    """The steps of lists within lists, in order."""
    for step in transforms:
        if isinstance(step, T.TransformList):
            yield from flatten(step.transforms)
        else:
            yield step


def follow_box(box: Sequence[float], transforms: Iterable[Transform], size: tuple[int, int]) -> list[Fraction] | None:
    """x1 y1 x2 y2 through flat ``transforms``, cut at the image (height, width) and at every crop; None if gone."""
    height, width = size
    x1, y1, x2, y2 = map(Fraction, box)
    for step in [CropTransform(0, 0, width, height), *transforms]:
        match step:
            case HFlipTransform():
                x1, x2 = step.width - x2, step.width - x1
            case VFlipTransform():
                y1, y2 = step.height - y2, step.height - y1
            case T.ResizeTransform():
                sx, sy = Fraction(step.new_w, step.w), Fraction(step.new_h, step.h)
                x1, y1, x2, y2 = x1 * sx, y1 * sy, x2 * sx, y2 * sy
            case CropTransform():
                x1, x2 = max(x1 - step.x0, Fraction(0)), min(x2 - step.x0, Fraction(step.w))
                y1, y2 = max(y1 - step.y0, Fraction(0)), min(y2 - step.y0, Fraction(step.h))
            case NoOpTransform():
                pass
            case _:
                raise AssertionError(f"no rule for {step}")
        if x2 <= x1 or y2 <= y1:
            return None
    return [x1, y1, x2, y2]


def trace_back(point: Sequence[float], transforms: Sequence[Transform]) -> tuple[float, float]:
    """The point of the original image that a point (x, y) of the transformed one comes from."""
    x, y = point
    for step in reversed(transforms):
        match step:
            case HFlipTransform():
                x = step.width - x
            case VFlipTransform():
                y = step.height - y
            case T.ResizeTransform():
                x, y = x * step.w / step.new_w, y * step.h / step.new_h
            case CropTransform():
                x, y = x + step.x0, y + step.y0
    return x, y
