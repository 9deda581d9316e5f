"""One image of a report, and the record that the page shows."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from egtr.structures import EdgeExplanation, SceneGraph

from .hits import Comparison, slim_graph

MAX_SIDE = 640
# Sampling points of each object, in the explanation of an edge.
MAX_POINTS = 12


@dataclass
class ReportImage:
    """An image and its graph, with explanations and a comparison if there are any.

    Attributes:
        name: the name that is shown and searched.
        image: (H, W, 3) uint8, RGB; None: boxes are shown without it.
        graph: the part of the graph that is shown, see :meth:`egtr.structures.SceneGraph.for_display`.
        explanations: one for each triplet of ``graph``; None if the model was not asked.
        comparison: the comparison with the annotations, or None if there are none.
    """

    name: str
    image: np.ndarray | None
    graph: SceneGraph
    explanations: Sequence[EdgeExplanation] | None = None
    comparison: Comparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``viewer.show`` of the page takes, without the image."""
        explanations = self.explanations
        return {
            "name": self.name,
            "graph": slim_graph(self.graph),
            "explanations": None if explanations is None else [e.to_dict(MAX_POINTS) for e in explanations],
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
        }


def encode_image(image: np.ndarray, max_side: int = MAX_SIDE) -> str:
    """Encode an image as the base64 text of a small WebP.

    Args:
        image: (H, W, 3) uint8, RGB.
        max_side: longest side of the WebP in pixels.
    """
    small = Image.fromarray(image)
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "WEBP", quality=75)
    return base64.b64encode(data.getvalue()).decode("ascii")
