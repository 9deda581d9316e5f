"""The evaluator that Detectron2's test loop calls."""

import itertools
import json
import logging
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from tabulate import tabulate

from egtr.structures import EGTRError, GroundTruth, Prediction

from .detection import OBJECT_AP, Detections, detection_ap
from .protocols import Protocol, get_protocol
from .recall import ImageHits, PredicateRecall, recall_metrics, score_image
from .scoring import check_topk

logger = logging.getLogger(__name__)


class SceneGraphEvaluator(DatasetEvaluator):
    """Recall of scene graphs and average precision of objects, in percent.

    The protocol decides what is scored: triplets are ranked anew out of the raw prediction, with the protocol's
    object score, so that TEST.SCENE_GRAPH.OBJECT_SCORE and TRIPLETS_PER_IMAGE, which shape the graph that people
    see, change no metric. Object AP is that of the model's ``instances`` as COCO takes it, whatever the protocol.

    Only a few numbers of each picture are kept, and only those travel between processes. Where the model
    returns no ``scene_graph`` (a detector in pre-training) objects alone are scored.
    """

    def __init__(
        self,
        dataset_name: str | None = None,
        *,
        ground_truth: Mapping[Any, GroundTruth] | None = None,
        protocol: str | Protocol = "reference",
        topk: Sequence[int] = (20, 50, 100),
        predicate_names: Sequence[str] | None = None,
        output_dir: str | None = None,
        distributed: bool = True,
    ):
        """
        Args:
            dataset_name: a registered data set, from which ground truth and ``predicate_classes`` are read.
            ground_truth: image id to ground truth, in place of the registered one.
            protocol: scoring conventions of the scene graphs, a name or an own :class:`Protocol`.
            topk: the K of R@K and mR@K, positive.
            predicate_names: R names, in place of the registered ones.
            output_dir: where the results are written as ``scene_graph_<dataset_name>.json``; None: nowhere.
            distributed: gather the results of all processes; False: score what this process saw.

        Raises:
            EGTRError: neither ``dataset_name`` nor ``ground_truth``; unknown protocol; bad ``topk``.
        """
        if dataset_name is None and ground_truth is None:
            raise EGTRError(
                "SceneGraphEvaluator: give dataset_name or ground_truth, there is nothing to score against"
            )
        self._dataset_name = dataset_name
        self._protocol = get_protocol(protocol)
        self._topk = check_topk(topk)
        self._output_dir = output_dir
        self._distributed = distributed
        if predicate_names is None and dataset_name is not None:
            predicate_names = MetadataCatalog.get(dataset_name).get("predicate_classes")
        self._predicate_names = None if predicate_names is None else tuple(predicate_names)
        if ground_truth is None:
            records = (GroundTruth.from_dict(record) for record in DatasetCatalog.get(dataset_name))
            ground_truth = {record.image_id: record for record in records}
        self._ground_truth = ground_truth
        self.reset()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None, distributed: bool = True
    ) -> "SceneGraphEvaluator":
        """Evaluator of a registered data set with the conventions of ``cfg.TEST.SCENE_GRAPH``."""
        return cls(
            dataset_name,
            protocol=cfg.TEST.SCENE_GRAPH.PROTOCOL,
            topk=cfg.TEST.SCENE_GRAPH.TOPK,
            output_dir=output_dir,
            distributed=distributed,
        )

    def reset(self) -> None:
        self._hits: dict[Any, ImageHits] = {}
        self._detections: dict[Any, Detections] = {}
        self._num_predicates: int | None = None

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Score a batch.

        Args:
            inputs: dataset dicts; ``image_id`` is read.
            outputs: for each ``instances`` (pred_boxes, scores, pred_classes; pixels of the original
                picture), and, unless the relation head is off, ``scene_graph`` with its ``prediction``.

        Raises:
            EGTRError: a picture has no ground truth, or a scene graph came without its prediction.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            truth = self._ground_truth.get(image_id)
            if truth is None:
                raise EGTRError(
                    f"image {image_id!r}: {self._dataset_name or 'ground_truth'} has no such image_id; "
                    "evaluate the data set that the evaluator was made for"
                )
            self._detections[image_id] = _to_detections(output["instances"])
            if "scene_graph" in output:
                prediction = output["scene_graph"].prediction
                if prediction is None:
                    raise EGTRError(
                        f"image {image_id!r}: scene_graph.prediction is missing; score the graph that the "
                        "model returns, before filtering it"
                    )
                self._hits[image_id] = score_image(prediction, truth, self._protocol, max(self._topk))
                self._check_num_predicates(prediction)

    def _check_num_predicates(self, prediction: Prediction) -> None:
        found = prediction.relation.shape[1]
        named = None if self._predicate_names is None else len(self._predicate_names)
        if named is not None and found != named:
            raise EGTRError(
                f"the model has {found} predicates, {self._dataset_name or 'predicate_names'} has {named}; "
                f"set MODEL.EGTR.NUM_PREDICATES to {named}"
            )
        self._num_predicates = found

    def evaluate(self) -> OrderedDict:
        """Metrics of all pictures processed, in percent; empty in every process but the first.

        Returns:
            {"sgdet": {"R@K", "mR@K", "ng-R@K", "ng-mR@K" for every K}, "bbox": {"AP", "AP50", "AP75"}}; NaN
            where there is nothing to be found. Without scene graphs "bbox" alone.
        """
        hits, detections, num_predicates = self._gather()
        if not comm.is_main_process() and self._distributed:
            return OrderedDict()
        if not detections:
            logger.warning("SceneGraphEvaluator did not receive any prediction.")
            return OrderedDict()
        results: OrderedDict = OrderedDict()
        # In the order of the data set, so that results do not depend on the number of processes.
        image_ids = [image_id for image_id in self._ground_truth if image_id in detections]
        per_predicate = None
        if hits:
            metrics = recall_metrics(
                [hits[i] for i in image_ids if i in hits], num_predicates, self._protocol, self._topk
            )
            per_predicate = metrics.pop("per_predicate")
            results["sgdet"] = {name: 100.0 * value for name, value in metrics.items()}
        ap = detection_ap([detections[i] for i in image_ids], [self._ground_truth[i] for i in image_ids], **OBJECT_AP)
        results["bbox"] = {name: 100.0 * ap[name] for name in ("AP", "AP50", "AP75")}
        self._report(results, per_predicate, len(image_ids))
        return results

    def _gather(self) -> tuple[dict[Any, ImageHits], dict[Any, Detections], int]:
        if not self._distributed or comm.get_world_size() == 1:
            return self._hits, self._detections, self._num_predicates or 0
        comm.synchronize()
        parts = comm.gather((self._hits, self._detections, self._num_predicates), dst=0)
        hits = dict(itertools.chain.from_iterable(part[0].items() for part in parts))
        detections = dict(itertools.chain.from_iterable(part[1].items() for part in parts))
        return hits, detections, max((part[2] or 0 for part in parts), default=0)

    def _report(self, results: OrderedDict, per_predicate: PredicateRecall | None, num_images: int) -> None:
        rows = [] if per_predicate is None else self._predicate_rows(per_predicate)
        for task, metrics in results.items():
            table = tabulate([metrics], headers="keys", tablefmt="pipe", floatfmt=".2f", numalign="left")
            conventions = f", protocol {self._protocol.name}" if task == "sgdet" else ""
            logger.info("Results for %s (%d images%s), percent:\n%s", task, num_images, conventions, table)
        if rows:
            # Both rankings side by side do not fit a terminal; the file has them.
            shown = [{k: v for k, v in row.items() if not k.startswith("ng-")} for row in rows]
            table = tabulate(shown, headers="keys", tablefmt="pipe", floatfmt=".2f", numalign="left")
            logger.info("Recall of each predicate, percent:\n%s", table)
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            name = "_".join(filter(None, ("scene_graph", self._dataset_name)))
            path = os.path.join(self._output_dir, f"{name}.json")
            report = {
                "dataset": self._dataset_name,
                "num_images": num_images,
                # of "sgdet" and "bbox", in this order
                "protocol": asdict(self._protocol),
                "object_ap": {"detections": "instances", **OBJECT_AP},
                "topk": self._topk,
                **results,
                "per_predicate": rows,
            }
            with PathManager.open(path, "w") as file:
                json.dump(_nan_to_none(report), file, indent=2)
            logger.info("Results are in %s", path)

    def _predicate_rows(self, per_predicate: PredicateRecall) -> list[dict[str, Any]]:
        """One row a predicate, those with most ground truth first."""
        names = self._predicate_names or [f"predicate {p}" for p in range(len(per_predicate.num_triplets))]
        return [
            {
                "predicate": names[p],
                "triplets": int(per_predicate.num_triplets[p]),
                "images": int(per_predicate.num_images[p]),
                **{name: 100.0 * float(values[p]) for name, values in per_predicate.recall.items()},
            }
            for p in np.argsort(-per_predicate.num_triplets, kind="stable")
        ]


def _to_detections(instances: Any) -> Detections:
    return Detections(
        boxes=instances.pred_boxes.tensor.detach().cpu().numpy().astype(np.float32),
        scores=instances.scores.detach().cpu().numpy().astype(np.float32),
        classes=instances.pred_classes.detach().cpu().numpy().astype(np.int32),
    )


def _nan_to_none(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
