"""The interface between a model and everything that draws, exports or serves its graphs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .errors import EGTRError
from .scene_graph import SceneGraph


@dataclass
class PredictedImage:
    """One image and the graph that a model found in it.

    Attributes:
        image: (H, W, 3) uint8, RGB; None if it could not be read.
        graph: all queries as objects, triplets by descending score; None if the image could not be read.
        error: the reason why the image could not be read, or None.
    """

    image: np.ndarray | None = None
    graph: SceneGraph | None = None
    error: EGTRError | None = None


def graphs_of(
    results: Iterable[PredictedImage], on_error: Callable[[EGTRError], Any] | None = None
) -> Iterator[SceneGraph]:
    """Yield the graphs of images, without their raw records.

    Args:
        results: as a predictor yields them.
        on_error: called with the error of each image that could not be read; None: the error is raised.
    """
    for result in results:
        if result.error is None:
            yield replace(result.graph, prediction=None)
        elif on_error is None:
            raise result.error
        else:
            on_error(result.error)


class Predictor(Protocol):
    """Anything that predicts: :class:`egtr.inference.EGTRPredictor`, or an object of your own with this method.

    If it also has the method ``explain`` of EGTRPredictor, reports explain its edges. If its ``predict`` has the
    arguments ``boxes``, ``refine_boxes`` and ``with_found`` of EGTRPredictor's, servers pass boxes on to it.
    """

    def predict(
        self, source: Any, channel_order: str | None = None, *, batch_size: int = 1, threads: int = 1
    ) -> Iterable[PredictedImage]:
        """Predict the scene graphs of many images, in order; an image that cannot be read does not stop the others.

        Args:
            source: see :class:`egtr.data.sources.ImageStream`.
            channel_order: "RGB" or "BGR"; needed for arrays and tensors with three channels.
            batch_size: images that may go through the model at once.
            threads: number of threads that read images.
        """
        ...
