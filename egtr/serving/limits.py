"""Limits of a request: bytes, pixels, number and time."""

from dataclasses import dataclass

from egtr.structures import ConfigurationError

MEGABYTE = 10**6
MEGAPIXEL = 10**6


@dataclass(frozen=True)
class Limits:
    """Limits of the requests that are accepted; ``upload`` and ``worker`` enforce them.

    Attributes:
        max_bytes: largest body of a request; bytes are counted while they arrive, and no more are kept.
        max_pixels: largest image, read from its header before it is decoded. Pillow itself refuses images of more
            than twice ``PIL.Image.MAX_IMAGE_PIXELS`` (about 179 million pixels).
        max_requests: number of images that are uploaded, waiting or computed at the same time.
        timeout: seconds, for the upload and again for the answer.
        max_boxes: most boxes that a request may give, since work and memory grow with the square of their number.
        max_remembered: number of images that are kept in memory for corrections; older ones are forgotten.

    Raises:
        ConfigurationError: one of them is not above 0.
    """

    max_bytes: int = 20 * MEGABYTE
    max_pixels: int = 40 * MEGAPIXEL
    max_requests: int = 8
    timeout: float = 60.0
    max_boxes: int = 300
    max_remembered: int = 8

    def __post_init__(self):
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigurationError(f"limits of the server: {name} is {value}; it has to be above 0")
