"""DETR's resize rule."""


def detr_resize_shape(height: int, width: int, short_side: int, max_size: int) -> tuple[int, int]:
    """Compute the size of an image after DETR's resize.

    The short side becomes exactly ``short_side`` and the long side ``int(short_side * long / short)``. If
    that exceeds ``max_size``, ``short_side`` becomes ``round(max_size * short / long)`` first. Detectron2's
    own rule rounds differently, which moves boxes by up to a pixel.

    Args:
        height, width: size of the image, pixels.
        short_side: the short side wanted, pixels.
        max_size: largest long side allowed, pixels; 0 or less: no limit.

    Returns:
        New (height, width).
    """
    short, long = min(height, width), max(height, width)
    if 0 < max_size * short < short_side * long:
        short_side = max(1, round(max_size * short / long))
    new_long = short_side if short == long else int(short_side * long / short)
    return (short_side, new_long) if height <= width else (new_long, short_side)
