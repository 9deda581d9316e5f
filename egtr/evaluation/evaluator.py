"""The evaluator that Detectron2's test loop calls."""

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from egtr.structures import (
    Calibration,
    ConfigurationError,
    DataError,
    GroundTruth,
    Prediction,
    PredictionError,
    TripletCounts,
)

from .bootstrap import check_bootstrap
from .calibration_report import ReliabilityReport
from .detection import NO_DETECTIONS, OBJECT_AP, Detections, detection_ap
from .displayed import sample_image
from .missing import find_missing, list_seen, nothing_found
from .packing import ScoredImage, pack, unpack
from .prediction_format import PredictionMeta
from .prediction_writer import PredictionWriter
from .protocols import Protocol, get_protocols
from .record_checks import check_columns
from .registered import read_ground_truth, training_triplets
from .report import Results, predicate_rows, predicate_table, results_by_task, summary_table, write_report
from .scoring import Scorer

logger = logging.getLogger(__name__)

# Metrics of detection_ap that are reported.
_OBJECT_METRICS = ("AP", "AP50", "AP75")


class SceneGraphEvaluator(DatasetEvaluator):
    """Recall of scene graphs under one or several protocols, and average precision of objects, in percent.

    Triplets are ranked again from the raw prediction, with the object score of the protocol. Therefore
    TEST.SCENE_GRAPH.OBJECT_SCORE and TRIPLETS_PER_IMAGE, which shape the graph that people see, change no metric.
    Object AP is COCO's, computed from the model's ``instances``; files also have that of protocols whose
    ``object_ap`` is "query", computed from the raw prediction.

    Only a few numbers of each image are kept and sent between processes. If the model returns no ``scene_graph`` (a
    detector in pre-training), only objects are scored.

    Files in ``output_dir``, with the name of the dataset for ``*``:

    - ``scene_graph_*.json``: all metrics, also of each predicate, with their conventions
    - ``scene_graph_*.csv``, ``scene_graph_*_predicates.csv``: the same for a spreadsheet
    - ``scene_graph_*_predicates.png``: predicate recall against training frequency, if ``training`` is known
    - ``reliability_*.json`` and ``.png``: after :meth:`measure_reliability`, how scores agree with annotations
    - ``predictions_*/``: with ``save_predictions``, see :class:`~egtr.evaluation.PredictionWriter`

    Tasks other than "sgdet" stand before the dataset: ``scene_graph_predcls_*.json``.
    """

    def __init__(
        self,
        dataset_name: str | None = None,
        *,
        ground_truth: Mapping[Any, GroundTruth] | None = None,
        protocols: str | Protocol | Sequence[str | Protocol] = "reference",
        top_k: Sequence[int] = (20, 50, 100),
        training: TripletCounts | None = None,
        task: str = "sgdet",
        bootstrap: int = 0,
        predicate_names: Sequence[str] | None = None,
        output_dir: str | None = None,
        save_predictions: bool = False,
        count_missing: bool = False,
        distributed: bool = True,
    ):
        """Prepare an evaluation.

        Args:
            dataset_name: a registered dataset, which gives ground truth, ``thing_classes`` and
                ``predicate_classes``.
            ground_truth: image id to ground truth, in place of the registered one.
            protocols: scoring conventions of the scene graphs, by name or your own. The first is the headline.
            top_k: the K of R@K and mR@K, positive.
            training: triplets of the training set; None: no zero-shot recall, no head, body and tail, no plot.
            task: what the model is given: "sgdet" only the image, "sgcls" also the annotated boxes, "predcls" also
                their classes. In the last two, queries must be the annotated objects, and files carry the task in
                their names.
            bootstrap: resamples of the dataset for 95% intervals; 0: no intervals.
            predicate_names: R names, in place of the registered ones.
            output_dir: a folder on this machine; None: nothing is written.
            save_predictions: write the predictions, in place of those of an earlier evaluation.
            count_missing: count images of the ground truth that were never processed, because their files are
                broken, as images in which nothing was found: a broken copy of the data must not raise any metric.
                False: only processed images are scored.
            distributed: gather the results of all processes; False: score only the images of this process.

        Raises:
            ConfigurationError: neither ``dataset_name`` nor ``ground_truth``; unknown protocol; bad ``top_k`` or
                ``bootstrap``; predictions to be saved, but no ``output_dir``.
        """
        if dataset_name is None and ground_truth is None:
            raise ConfigurationError(
                "SceneGraphEvaluator: there is no ground truth; give dataset_name or ground_truth"
            )
        if save_predictions and not output_dir:
            raise ConfigurationError(
                "SceneGraphEvaluator: save_predictions needs output_dir, the folder to write them to"
            )
        check_bootstrap(bootstrap)
        self._dataset_name = dataset_name
        self._protocols = get_protocols(protocols)
        self._training = training
        self._task = task
        self._bootstrap = bootstrap
        self._output_dir = output_dir
        self._save_predictions = save_predictions
        self._count_missing = count_missing
        self._distributed = distributed
        self._reliability: ReliabilityReport | None = None
        self._object_score = "auto"
        metadata = None if dataset_name is None else MetadataCatalog.get(dataset_name)
        self._ground_truth = read_ground_truth(dataset_name) if ground_truth is None else ground_truth
        self._exhaustive = metadata is not None and metadata.get("exhaustive", False) is True
        self._scorer = Scorer(self._protocols, top_k, training, task, exhaustive=self._exhaustive)
        # Reading a dataset may set its names.
        self._class_names = metadata and metadata.get("thing_classes")
        self._predicate_names = predicate_names or (metadata and metadata.get("predicate_classes"))
        self._writer: PredictionWriter | None = None
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None, distributed: bool = True
    ) -> "SceneGraphEvaluator":
        """Create the evaluator of a registered dataset from ``cfg.TEST.SCENE_GRAPH`` and DATALOADER.SKIP_BROKEN.

        Its task is the first of TEST.SCENE_GRAPH.TASKS.
        """
        keys = cfg.TEST.SCENE_GRAPH
        has_relations = cfg.MODEL.EGTR.RELATION.ENABLED
        return cls(
            dataset_name,
            ground_truth=read_ground_truth(dataset_name, cfg.DATALOADER.SKIP_BROKEN),
            protocols=keys.PROTOCOLS,
            top_k=keys.TOPK,
            training=training_triplets(cfg) if has_relations else None,
            task=keys.TASKS[0],
            bootstrap=keys.BOOTSTRAP,
            output_dir=output_dir,
            save_predictions=keys.SAVE_PREDICTIONS and has_relations,
            count_missing=cfg.DATALOADER.SKIP_BROKEN,
            distributed=distributed,
        )

    def measure_reliability(self, calibration: Calibration | None, object_score: str = "auto") -> None:
        """Measure also, in task "sgdet", how scores and probabilities of a calibration agree with annotations.

        Args:
            calibration: the one of the model, for this object score; or None.
            object_score: TEST.SCENE_GRAPH.OBJECT_SCORE, which graphs that people see are scored by.
        """
        if self._task == "sgdet":
            self._reliability, self._object_score = ReliabilityReport(calibration, self._exhaustive), object_score

    def reset(self) -> None:
        self._images: dict[Any, ScoredImage] = {}
        if self._writer is not None:
            self._writer.close(complete=False)
            self._writer = None

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Score a batch. An image that was seen before is ignored.

        Args:
            inputs: dataset dicts with ``image_id``.
            outputs: a dict for each input, with ``instances`` (pred_boxes, scores, pred_classes; pixels of the
                original image) and, unless the relation part is off, ``scene_graph`` with its ``prediction``.

        Raises:
            DataError: an image has no ground truth.
            PredictionError: a scene graph has no prediction or does not fit the dataset; or, in another task than
                "sgdet", there is none, or its objects are not the annotated ones.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            # Samplers repeat images so that all processes have the same number.
            if image_id in self._images:
                continue
            truth = self._ground_truth.get(image_id)
            if truth is None:
                raise DataError(
                    f"image {image_id!r}: {self._dataset_name or 'ground_truth'} has no such image_id; "
                    "evaluate the dataset that the evaluator was made for"
                )
            prediction = None
            if "scene_graph" in output:
                prediction = output["scene_graph"].prediction
                if prediction is None:
                    raise PredictionError(
                        f"image {image_id!r}: scene_graph.prediction is missing; score the graph that the "
                        "model returns, before filtering it"
                    )
                if self._predicate_names is not None:
                    names = f"{self._dataset_name or 'predicate_names'} (MODEL.EGTR.NUM_PREDICATES)"
                    check_columns(prediction, None, len(self._predicate_names), names, f"image {image_id!r}: ")
            elif self._task != "sgdet":
                raise PredictionError(
                    f"image {image_id!r}: task {self._task!r} scores scene graphs, but the model returns none; set "
                    "TEST.SCENE_GRAPH.TASKS to sgdet"
                )
            # Objects that a detector finds by itself are no part of the other tasks.
            found = Detections.from_instances(output["instances"]) if self._task == "sgdet" else NO_DETECTIONS
            self._score(image_id, found, prediction)

    def _score(self, image_id: Any, detections: Detections, prediction: Prediction | None) -> None:
        truth, scores, displayed = self._ground_truth[image_id], None, None
        if prediction is not None:
            scores = self._scorer.score(prediction, truth)
            if self._save_predictions:
                self._open_writer().write(image_id, prediction, truth)
            if self._reliability is not None:
                displayed = sample_image(prediction, truth, self._object_score).without_labels()
        self._images[image_id] = ScoredImage(detections, scores, displayed)

    def _score_missing(self) -> None:
        """Score the images that no process has seen, in the first process."""
        mine = list_seen(self._images)
        everywhere = comm.all_gather(mine) if self._distributed else [mine]
        missing, columns = find_missing(everywhere, self._ground_truth, self._dataset_name or "the dataset")
        if self._distributed and not comm.is_main_process():
            return
        for image_id in missing:
            num_given = 0 if self._task == "sgdet" else len(self._ground_truth[image_id].boxes)
            self._score(image_id, *nothing_found(columns, num_given))

    def _open_writer(self) -> PredictionWriter:
        if self._writer is None:
            meta = PredictionMeta(
                self._class_names,
                self._predicate_names,
                self._task,
                max_rank=max(100, *self._scorer.top_k),
                training=self._training,
                exhaustive=self._exhaustive,
            )
            process, processes = (comm.get_rank(), comm.get_world_size()) if self._distributed else (0, 1)
            self._writer = PredictionWriter(
                os.path.join(self._output_dir, self._stem("predictions")),
                meta,
                process=process,
                num_processes=processes,
                overwrite=True,
            )
            # Keeps the predictions that an interrupted run has made since its last complete part.
            weakref.finalize(self, self._writer.close, complete=False)
        return self._writer

    def evaluate(self) -> OrderedDict:
        """Compute the metrics of all processed images, in percent; every process but the first returns none.

        Returns:
            {"sgdet": {"R@K", "mR@K", "ng-R@K", ...} of the first protocol (all that
            :func:`~egtr.evaluation.evaluate` names), "sgdet_<protocol>" for the others, "open_images": {"score",
            "microR@50", ...} of the first protocol, "bbox": {"AP", "AP50", "AP75"}}; NaN if there is nothing to be
            found. Without scene graphs only "bbox". Other tasks have their own name in place of "sgdet", with A@K,
            and "<task>_open_images"; they have no "bbox".

        Raises:
            DataError: with ``count_missing``, no image was processed.
        """
        if self._count_missing:
            self._score_missing()
        # A process without images also marks its end; otherwise the file would count as cut short.
        if self._save_predictions and (self._has_scene_graphs(self._images) or not self._images):
            self._open_writer().close()
        images = self._gather()
        if not comm.is_main_process() and self._distributed:
            return OrderedDict()
        if not images:
            logger.warning("SceneGraphEvaluator did not receive any prediction.")
            return OrderedDict()
        # In the order of the dataset, so that results do not depend on the number of processes.
        image_ids = [image_id for image_id in self._ground_truth if image_id in images]
        objects: dict[str, float] = {}
        if self._task == "sgdet":
            detections = [images[i].detections for i in image_ids]
            ap = detection_ap(detections, [self._ground_truth[i] for i in image_ids], **OBJECT_AP)
            objects = {name: ap[name] for name in _OBJECT_METRICS}
        summary: dict[str, dict[str, Any]] = {}
        if self._has_scene_graphs(images):
            scores = [images[i].scores for i in image_ids if images[i].scores is not None]
            summary = self._scorer.summarize(scores, self._bootstrap)
            for protocol in self._protocols:
                if protocol.object_ap == "class":
                    summary[protocol.name] |= objects
        self._report(summary or {"objects": objects}, len(image_ids))
        displayed = [images[i].displayed for i in image_ids if images[i].displayed is not None]
        if displayed and self._reliability is not None:
            self._reliability.report(displayed, self._output_dir, self._stem("reliability"))
        return results_by_task(summary, objects, self._task)

    def _gather(self) -> dict[Any, ScoredImage]:
        """Gather the images of all processes in the first one; the others get none."""
        if not self._distributed or comm.get_world_size() == 1:
            return self._images
        comm.synchronize()
        images = {}
        for packed in comm.gather(pack(self._images), dst=0):
            images |= unpack(packed, self._ground_truth)
        return images

    @staticmethod
    def _has_scene_graphs(images: Mapping[Any, ScoredImage]) -> bool:
        return any(image.scores is not None for image in images.values())

    def _report(self, results: Results, num_images: int) -> None:
        logger.info(
            "Results of task %s on %s, %d images, percent:\n%s",
            self._task,
            self._dataset_name or "the dataset",
            num_images,
            summary_table(results),
        )
        name, metrics = next(iter(results.items()))
        if "per_predicate" in metrics:
            rows = predicate_rows(metrics["per_predicate"], self._predicate_names, self._training)
            logger.info("Recall of each predicate, protocol %s, percent:\n%s", name, predicate_table(rows))
        if self._output_dir:
            paths = write_report(
                self._output_dir,
                self._stem("scene_graph"),
                results,
                self._protocols,
                self._predicate_names,
                self._training,
                dataset=self._dataset_name,
                task=self._task,
                num_images=num_images,
                top_k=self._scorer.top_k,
                # "AP" of every protocol whose object_ap is "class"
                object_ap={"detections": "instances", **OBJECT_AP},
            )
            logger.info("Results are in %s", ", ".join(map(str, paths)))

    def _stem(self, what: str) -> str:
        task = "" if self._task == "sgdet" else self._task
        return "_".join(part for part in (what, task, self._dataset_name) if part)
