"""Validation images with their graphs, in TensorBoard, while a model learns."""

import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.events import EventStorage
from torch import nn

from egtr.data.image import load_image
from egtr.inference.predictor import EGTRPredictor
from egtr.structures import EGTRError

logger = logging.getLogger(__name__)


class GraphImages:
    """Draws the graphs of a few validation images, always of the same ones.

    They are spread evenly over the images of the first test dataset that have relations. TensorBoard shows them as
    ``graphs/<file name>``, and their annotations as ``graphs/<file name>_annotated``. An image that cannot be read is
    left out with a warning: training continues.

    Args:
        cfg: with DATASETS.TEST and TEST.SCENE_GRAPH.VIS_IMAGES.
    """

    # Pixels per inch of a sheet 13.3 inches wide, and the largest number of edges: readable, and quick to draw.
    DPI = 80
    TOP_K = 12

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg
        # Names and records.
        self._records: dict[str, dict[str, Any]] | None = None

    def draw(self, model: nn.Module, storage: EventStorage) -> None:
        """Put the graphs that ``model`` predicts into ``storage``; the first time also the annotations."""
        # Here, because a run without images does not need matplotlib.
        from egtr.inference.export import unique_stems
        from egtr.visualization import draw_scene_graph, figure_to_array, graph_from_annotations

        dataset = self.cfg.DATASETS.TEST[0]
        is_first = self._records is None
        if is_first:
            records = choose_records(dataset, self.cfg.TEST.SCENE_GRAPH.VIS_IMAGES)
            names = unique_stems([record["file_name"] for record in records])
            self._records = {f"graphs/{name}": record for name, record in zip(names, records, strict=True)}
        predictor = EGTRPredictor(self.cfg, model)
        for name, record in list(self._records.items()):
            try:
                image = load_image(record["file_name"])
                graphs = {name: predictor(image, channel_order="RGB").for_display(top_k=self.TOP_K)}
                if is_first:
                    graphs[f"{name}_annotated"] = graph_from_annotations(record, MetadataCatalog.get(dataset))
            except EGTRError as error:
                logger.warning("No graph for TensorBoard: %s", error)
                del self._records[name]
                continue
            for title, graph in graphs.items():
                figure = draw_scene_graph(image, graph, show_scores=title == name)
                storage.put_image(title, figure_to_array(figure, dpi=self.DPI).transpose(2, 0, 1))


def choose_records(dataset_name: str, count: int) -> list[dict[str, Any]]:
    """Choose at most ``count`` records of a dataset, evenly spread over the records with relations."""
    records = [record for record in DatasetCatalog.get(dataset_name) if len(record.get("relations", ()))]
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]
