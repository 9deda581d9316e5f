"""Many images to one HTML file, one after the other, so that memory holds only one."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from egtr.evaluation import calibration_report
from egtr.evaluation.displayed import Sample
from egtr.structures import Calibration, PredictionError, SceneGraph
from egtr.structures.files import replacing

from .assets import VIEWER_SCRIPTS, VIEWER_STYLES, assemble_page, read_asset, to_json
from .hits import TOPK
from .image import ReportImage, encode_image

REPORT_SCRIPTS = (*VIEWER_SCRIPTS, "index.js", "image_list.js", "reliability.js", "report.js")
REPORT_STYLES = (*VIEWER_STYLES, "report.css")


class ReportSize(NamedTuple):
    """Bytes of a written page: all of it, its images, and the records of its graphs."""

    total: int
    images: int
    records: int


class ReportWriter:
    """Writes a report; the file appears when the ``with`` block ends.

    If the block ends by an exception, the file appears too, with the images added so far: nothing computed is lost.

    ::

        with ReportWriter("report.html") as report:
            for image in images_of_source(predictor, "photos/"):
                report.add(image)

    Args:
        path: the HTML file; its folder is made if it does not exist.
        title: title of the page.
        calibration: of the model, for the reliability of its probabilities; None: that of its scores is shown.
        exhaustive: the annotations hold every relation in the images.

    Attributes:
        num_images: number of images added so far.
        size: its size in bytes, once it is written.
        reliability: how certain the graphs are and how right, see :func:`egtr.evaluation.calibration_report.record`,
            once it is written; None if no image was compared with annotations, or nothing is displayed.

    Raises:
        PredictionError: at the end, where no image was added.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        title: str = "Scene graphs",
        *,
        calibration: Calibration | None = None,
        exhaustive: bool = False,
    ):
        self.path = Path(path)
        self._calibration = calibration
        self._exhaustive = exhaustive
        self._samples: list[Sample] = []
        self.reliability: dict[str, Any] | None = None
        self.num_images = 0
        self.size = ReportSize(0, 0, 0)
        self._names: dict[str, int] = {}
        self._index: list[dict[str, Any]] = []
        self._bytes = {"image": 0, "record": 0}
        self._recall: dict[int, list[float]] = {k: [] for k in TOPK}
        styles = [read_asset(name) for name in REPORT_STYLES]
        scripts = [read_asset(name) for name in REPORT_SCRIPTS]
        self._head, self._foot = assemble_page(read_asset("report.html"), title, styles, scripts)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._target = replacing(self.path)
        self._file = self._target.__enter__()
        self._put(self._head)
        return self

    def add(self, image: ReportImage) -> None:
        """Write one image."""
        number = self.num_images
        if image.image is not None:
            self._write("image", number, "text/plain", encode_image(image.image))
        self._write("record", number, "application/json", to_json(image.to_dict()))
        self._index.append(self._summarize(image))
        self.num_images += 1

    def mean_recall(self) -> dict[int, float]:
        """Average R@K over the images that have annotated triplets; empty if none has."""
        return {k: sum(values) / len(values) for k, values in self._recall.items() if values}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.num_images:
            empty = PredictionError(f"{self.path}: is not written, because there is no image to show")
            # The error discards the new file.
            self._target.__exit__(type(empty), empty, None)
            if error is None:
                raise empty
            return
        if any(len(sample.presence) for sample in self._samples):
            measured = calibration_report.measure(self._samples, self._calibration)
            self.reliability = calibration_report.record(measured, self._exhaustive)
        index = {
            "names": list(self._names),
            "images": self._index,
            "recall": self.mean_recall(),
            "reliability": self.reliability,
        }
        self._put(f'<script type="application/json" id="index">{to_json(index)}</script>\n')
        self._put(self._foot)
        self._target.__exit__(None, None, None)
        self.size = ReportSize(self.path.stat().st_size, self._bytes["image"], self._bytes["record"])

    def _write(self, kind: str, number: int, media_type: str, text: str) -> None:
        self._put(f'<script type="{media_type}" id="{kind}-{number}">')
        self._bytes[kind] += self._put(text)
        self._put("</script>\n")

    def _put(self, text: str) -> int:
        # File names that are not valid UTF-8 become escapes of JSON.
        return self._file.write(text.encode(errors="backslashreplace"))

    def _summarize(self, image: ReportImage) -> dict[str, Any]:
        """Collect what the list of images needs, so that records are read only when they are shown."""
        graph = image.graph
        classes = {graph.class_name(index) for index in range(len(graph.boxes))}
        if image.comparison is not None:
            truth = image.comparison.truth
            classes |= {truth.class_name(index) for index in range(len(truth.boxes))}
        objects = [self._number(name) for name in sorted(classes)]
        summary: dict[str, Any] = {
            "name": image.name,
            "objects": objects,
            "edges": self._edges(graph, with_scores=True),
        }
        if image.comparison is not None:
            summary["truth"] = self._edges(image.comparison.truth)
            summary["recall"] = image.comparison.recall(TOPK[0])
            for k, values in self._recall.items():
                recall = image.comparison.recall(k)
                values.extend([] if recall is None else [recall])
            if image.comparison.sample is not None:
                self._samples.append(image.comparison.sample)
        return summary

    def _number(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _edges(self, graph: SceneGraph, with_scores: bool = False) -> list[list[float]]:
        """List rows of (subject, predicate, object) and perhaps score, as numbers in the table of names."""
        rows = []
        for (subject, object_, predicate), score in zip(graph.triplets.tolist(), graph.triplet_scores, strict=True):
            names = (graph.class_name(subject), graph.predicate_name(predicate), graph.class_name(object_))
            row = [self._number(name) for name in names]
            rows.append([*row, round(float(score), 4)] if with_scores else row)
        return rows
