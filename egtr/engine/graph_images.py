"""Validation images with their graphs, in TensorBoard, while a model learns."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase
from torch import nn

from egtr.data.image import load_image
from egtr.inference.predictor import EGTRPredictor
from egtr.structures import EGTRError, SceneGraph

from .checkpoint_hook import EvaluationHook

logger = logging.getLogger(__name__)


class GraphImages(HookBase):
    """Draws the graphs of a few images after each evaluation, always of the same ones.

    They come from the first test dataset, spread evenly over those of its images that have relations. TensorBoard
    has them as images ``graphs/<name of the file>``, annotations as ``graphs/<name of the file>_annotated``.
    Register it on the main process, behind ``evaluation`` and before the hook that writes events. An image that
    cannot be read is left out with a warning: training goes on.

    Args:
        cfg: with DATASETS.TEST and TEST.SCENE_GRAPH.VIS_IMAGES.
        model: returns the model that evaluation asks.
        evaluation: says when.
    """

    # Pixels per inch of a sheet 13.3 inches wide, and edges at most: enough to read, and soon drawn.
    DPI = 80
    TOP_K = 12

    def __init__(self, cfg: CfgNode, model: Callable[[], nn.Module], evaluation: EvaluationHook):
        self.cfg = cfg
        self.model = model
        self.evaluation = evaluation
        self._records: list[dict[str, Any]] | None = None

    def after_step(self) -> None:
        if self.evaluation.is_due(self.trainer.iter):
            self._draw()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._draw()

    def _draw(self) -> None:
        is_first = self._records is None
        if is_first:
            self._records = choose_records(self.cfg.DATASETS.TEST[0], self.cfg.TEST.SCENE_GRAPH.VIS_IMAGES)
        predictor = EGTRPredictor(self.cfg, self.model())
        for record in list(self._records):
            name = f"graphs/{Path(record['file_name']).stem}"
            try:
                image = load_image(record["file_name"])
                if is_first:
                    self._put(f"{name}_annotated", image, self._annotated(record), show_scores=False)
                self._put(name, image, predictor(image, channel_order="RGB").for_display(top_k=self.TOP_K))
            except EGTRError as error:
                logger.warning("No graph for TensorBoard: %s", error)
                self._records.remove(record)

    def _annotated(self, record: dict[str, Any]) -> SceneGraph:
        from egtr.visualization import graph_from_annotations

        return graph_from_annotations(record, MetadataCatalog.get(self.cfg.DATASETS.TEST[0]))

    def _put(self, name: str, image: np.ndarray, graph: SceneGraph, show_scores: bool = True) -> None:
        # Drawing is a room above this one, and a run without images does without it.
        from egtr.visualization import draw_scene_graph, figure_to_array

        sheet = figure_to_array(draw_scene_graph(image, graph, show_scores=show_scores), dpi=self.DPI)
        self.trainer.storage.put_image(name, sheet.transpose(2, 0, 1))


def choose_records(dataset_name: str, count: int) -> list[dict[str, Any]]:
    """``count`` records of a dataset, or as many as there are, evenly spread over those with relations."""
    records = [record for record in DatasetCatalog.get(dataset_name) if len(record.get("relations", ()))]
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]
