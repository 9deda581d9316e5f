"""Does decoder self-attention encode relations? This module measures the premise of the paper (section 3.2).

:func:`collect_relations` runs a model on the images of a dataset, :func:`summarize_relations` turns its output into
numbers, and :mod:`egtr.experiments.relation_plots` draws them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.evaluation.evaluator import inference_context
from detectron2.structures import Boxes
from detectron2.structures.boxes import matched_pairwise_iou
from scipy.stats import rankdata
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from egtr.data import SceneGraphMapper, build_augmentation, check_dataset_matches_config
from egtr.data.worker import end_lost_workers
from egtr.engine.loader_workers import explaining_worker_errors
from egtr.layers import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh
from egtr.modeling import EGTR, EGTROutput, Target
from egtr.modeling.explain import attention_weights
from egtr.modeling.target import Match
from egtr.structures import DataError


@dataclass(frozen=True)
class ImageRelations:
    """The relations that a model sees between the M annotated objects of one image that matched a query.

    L decoder layers, H heads, S relation sources. In (M, M) arrays the subject comes first, then the object.

    Attributes:
        image_id, file_name: id and file of the image.
        boxes: (M, 4) annotated boxes, cxcywh in 0..1 of the image.
        classes: (M,) annotated classes.
        triplets: (T, 3) annotated (subject, object, predicate); the first two index the M objects.
        attention: (L, H, M, M) float32, the weight that the subject's query gives to the object's query. The weights
            that one query gives to all N queries sum to 1.
        gates: (S, M, M) in 0..1, or None without a gate.
        connectivity: (M, M) in 0..1, or None without a connectivity head.
        uncertainty: (M,) in 0..1, uncertainty of the match, as in adaptive smoothing.
        iou: (M,) intersection over union of the predicted and the annotated box.
    """

    image_id: int | str
    file_name: str
    boxes: np.ndarray
    classes: np.ndarray
    triplets: np.ndarray
    attention: np.ndarray
    gates: np.ndarray | None
    connectivity: np.ndarray | None
    uncertainty: np.ndarray
    iou: np.ndarray

    @property
    def related(self) -> np.ndarray:
        """(M, M) bool: the pairs for which any predicate is annotated."""
        related = np.zeros((len(self.classes),) * 2, dtype=bool)
        related[self.triplets[:, 0], self.triplets[:, 1]] = True
        return related

    @property
    def closeness(self) -> np.ndarray:
        """(M, M): minus the distance between the centres of two annotated boxes, in sides of the image."""
        centres = self.boxes[:, :2]
        return -np.linalg.norm(centres[:, None] - centres, axis=-1)

    @property
    def pairs(self) -> np.ndarray:
        """(M, M) bool: all pairs of two different objects."""
        return ~np.eye(len(self.classes), dtype=bool)


def auc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve, by ranks: the chance that a positive scores higher than a negative.

    Ties count half.

    Args:
        scores: (..., P) scores.
        labels: (P,) bool, true for positives.

    Returns:
        (...) values in 0..1; NaN if there is no positive or no negative.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return np.full(np.shape(scores)[:-1], np.nan)
    ranks = rankdata(scores, axis=-1)[..., labels].sum(-1)
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def collect_relations(
    cfg: CfgNode, model: EGTR, dataset_name: str, num_images: int | None = None
) -> list[ImageRelations]:
    """Run a model on the images of a dataset, with a progress bar, and collect the relations that it sees.

    Args:
        cfg: the configuration of the model; images are resized as for evaluation.
        model: the model; its mode is restored afterwards.
        dataset_name: a registered dataset.
        num_images: number of images, the first ones; None: all.

    Raises:
        DataError: the dataset does not fit the model, has no relations, or cannot be read.
    """
    num_heads = cfg.MODEL.EGTR.TRANSFORMER.NHEADS
    with inference_context(model), torch.no_grad():
        return [analyze_image(model, record, num_heads) for record in load_annotated(cfg, dataset_name, num_images)]


def load_annotated(cfg: CfgNode, dataset_name: str, num_images: int | None = None) -> Iterator[dict[str, Any]]:
    """Load images with their annotations, resized as for evaluation, with a progress bar.

    Args:
        cfg, dataset_name, num_images: as in :func:`collect_relations`.

    Returns:
        The inputs of a model in training, one by one.

    Raises:
        DataError: the dataset does not fit the model, has no relations, or cannot be read.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = (dataset_name,)
    check_dataset_matches_config(cfg, train=False)
    records = DatasetCatalog.get(dataset_name)[:num_images]
    if not any(record.get("relations") for record in records):
        raise DataError(f"Dataset {dataset_name!r}: its {len(records)} images have no relations to look for")
    mapper = SceneGraphMapper(
        # As in training, because matching needs instances, but without random augmentations.
        is_train=True,
        augmentations=build_augmentation(cfg, is_train=False),
        image_format=cfg.INPUT.FORMAT,
    )
    workers = cfg.DATALOADER.NUM_WORKERS
    loader = end_lost_workers(build_detection_test_loader(records, mapper=mapper, num_workers=workers))
    return _records(loader, workers)


def _records(loader: DataLoader, workers: int) -> Iterator[dict[str, Any]]:
    with explaining_worker_errors(workers, "then analyze again"):
        yield from (inputs[0] for inputs in tqdm(loader, "analyzing", unit="image"))


def analyze_image(model: EGTR, record: dict[str, Any], num_heads: int) -> ImageRelations:
    """Run a model on one image, and collect the relations that it sees.

    Args:
        model: the model, in evaluation mode.
        record: the input of the model in training, with ``instances`` and ``relations``.
        num_heads: H, the number of heads of decoder self-attention.
    """
    output, target = run_annotated(model, record)
    return relations_of_output(
        output, target, model.criterion, num_heads, image_id=record["image_id"], file_name=record["file_name"]
    )


def run_annotated(model: EGTR, record: dict[str, Any]) -> tuple[EGTROutput, Target]:
    """Run a model, which is in evaluation mode, on one image of :func:`load_annotated`.

    Returns:
        The dense output for a batch of this image, and the annotations.
    """
    output = model.network(model.preprocess_image([record]))
    instances = record["instances"].to(model.device)
    height, width = instances.image_size
    target = Target(
        classes=instances.gt_classes,
        boxes=box_xyxy_to_cxcywh(instances.gt_boxes.tensor) / torch.tensor([width, height] * 2, device=model.device),
        relations=record["relations"].to(model.device),
    )
    return output, target


def match_in_order(output: EGTROutput, target: Target, criterion) -> Match:
    """Match queries to the objects of one image, in the order of the annotations."""
    (match,) = criterion.matcher(output.logits, output.pred_boxes, [target])
    order = match.objects.argsort()
    return Match(*(values[order] for values in match))


def relations_of_output(
    output: EGTROutput, target: Target, criterion, num_heads: int, *, image_id: int | str, file_name: str
) -> ImageRelations:
    """Read the relations between the annotated objects of an image from the dense output for a batch of this image.

    Args:
        output: the output of the model.
        target: the annotations.
        criterion: the criterion, which matches queries to objects and knows the uncertainty of a match.
        num_heads: H, the number of heads of decoder self-attention.
        image_id, file_name: id and file of the image.
    """
    match = match_in_order(output, target, criterion)
    queries, objects = match.queries, match.objects
    # Objects without a query drop out, with their relations.
    place = torch.full((len(target.classes),), -1, dtype=torch.int64, device=objects.device)
    place[objects] = torch.arange(len(objects), device=objects.device)
    ends = place[target.relations[:, :2]]
    triplets = torch.cat([ends, target.relations[:, 2:]], dim=1)[(ends >= 0).all(1)]

    def among_matched(values: Tensor | None) -> np.ndarray | None:
        return None if values is None else _numpy(values[..., queries[:, None], queries])

    connectivity = output.connectivity_logits
    predicted, annotated = output.pred_boxes[0, queries].float(), target.boxes[objects].float()
    return ImageRelations(
        image_id=image_id,
        file_name=file_name,
        boxes=_numpy(annotated),
        classes=_numpy(target.classes[objects]),
        triplets=_numpy(triplets),
        attention=among_matched(
            attention_weights([q[0] for q in output.queries], [k[0] for k in output.keys], num_heads)
        ),
        gates=among_matched(None if output.gates is None else output.gates[0].float()),
        connectivity=among_matched(None if connectivity is None else connectivity[0].float().sigmoid()),
        uncertainty=_numpy(criterion.uncertainty(match)),
        iou=_numpy(matched_pairwise_iou(Boxes(box_cxcywh_to_xyxy(predicted)), Boxes(box_cxcywh_to_xyxy(annotated)))),
    )


def summarize_relations(
    images: Sequence[ImageRelations], predicate_names: Sequence[str], source_names: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute numbers over all images.

    A pair is an ordered pair of two different matched objects of one image; it is related if any predicate is
    annotated for it.

    Args:
        images: at least one, all of the same model.
        predicate_names: R names.
        source_names: S names, from :func:`~egtr.modeling.explain.source_names`; needed only if there is a gate.

    Returns:
        Plain numbers, lists and dicts; NaN where there is nothing to measure.

        - num_images, num_objects (matched), num_pairs, num_related.
        - attention: L lists of H numbers under "auc" (attention of the subject to the object, with all pairs of all
          images ranked together), "auc_reversed" (attention of the object to the subject) and "auc_within_images"
          (as "auc", but only pairs of one image are compared; mean over images).
        - others: the same three numbers of scores to compare with: "closeness" of the annotated boxes and
          "connectivity" (None without a connectivity head).
        - gates: None without a gate. Else "sources" (their names), the mean gates of the S sources over "related" and
          "unrelated" pairs, and under "predicates", for each name, its "count" of triplets and their mean "gates".
        - uncertainty: "pearson" and "spearman" correlation of the uncertainty of a match with its IoU. The matching
          cost, from which the uncertainty is computed, contains GIoU, so some correlation is built in.
    """
    labels = np.concatenate([image.related[image.pairs] for image in images])
    layers, heads = images[0].attention.shape[:2]
    return {
        "num_images": len(images),
        "num_objects": sum(len(image.classes) for image in images),
        "num_pairs": len(labels),
        "num_related": int(labels.sum()),
        "attention": {
            name: values.reshape(layers, heads).tolist()
            for name, values in _aucs(images, [np.concatenate(image.attention) for image in images])
        },
        "others": {
            name: None
            if any(score is None for score in scores)
            else {kind: values.item() for kind, values in _aucs(images, [score[None] for score in scores])}
            for name, scores in {
                "closeness": [image.closeness for image in images],
                "connectivity": [image.connectivity for image in images],
            }.items()
        },
        "gates": _gates(images, predicate_names, source_names) if images[0].gates is not None else None,
        "uncertainty": _correlations(
            np.concatenate([image.uncertainty for image in images]), np.concatenate([image.iou for image in images])
        ),
    }


def _aucs(images: Sequence[ImageRelations], scores: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Compute the AUCs of K scores: name to (K,), for scores (K, M, M) of each image."""
    labels = [image.related[image.pairs] for image in images]
    forward = [score[:, image.pairs] for image, score in zip(images, scores, strict=True)]
    reversed_ = [score.swapaxes(1, 2)[:, image.pairs] for image, score in zip(images, scores, strict=True)]
    within = np.array([auc(*entry) for entry in zip(forward, labels, strict=True)])
    together = np.concatenate(labels)
    # Row by row: the ranks of all heads at once would take several times the memory.
    return [
        ("auc", np.array([auc(row, together) for row in np.concatenate(forward, axis=1)])),
        ("auc_reversed", np.array([auc(row, together) for row in np.concatenate(reversed_, axis=1)])),
        ("auc_within_images", _mean(within[np.isfinite(within).all(1)])),
    ]


def _gates(images: Sequence[ImageRelations], predicate_names: Sequence[str], source_names: Sequence[str]) -> dict:
    def over(chosen: Sequence[np.ndarray]) -> np.ndarray:
        # (P, S), from (M, M) masks.
        return np.concatenate([image.gates[:, mask].T for image, mask in zip(images, chosen, strict=True)])

    of_triplets = np.concatenate([image.gates[:, image.triplets[:, 0], image.triplets[:, 1]].T for image in images])
    predicates = np.concatenate([image.triplets[:, 2] for image in images])
    return {
        "sources": list(source_names),
        "related": _mean(over([image.related & image.pairs for image in images])).tolist(),
        "unrelated": _mean(over([~image.related & image.pairs for image in images])).tolist(),
        "predicates": {
            name: {
                "count": int((predicates == number).sum()),
                "gates": _mean(of_triplets[predicates == number]).tolist(),
            }
            for number, name in enumerate(predicate_names)
        },
    }


def _mean(rows: np.ndarray) -> np.ndarray:
    # NaN without rows, where numpy would warn.
    return rows.mean(0) if len(rows) else np.full(rows.shape[1], np.nan)


def _correlations(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return {"pearson": math.nan, "spearman": math.nan}
    return {
        "pearson": float(np.corrcoef(first, second)[0, 1]),
        "spearman": float(np.corrcoef(rankdata(first), rankdata(second))[0, 1]),
    }


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
