"""Comparison of exported models with the model in PyTorch, from the image file to the graph."""

import statistics
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from tqdm import tqdm

from egtr.data import build_test_loader
from egtr.evaluation import SceneGraphEvaluator
from egtr.inference.predictor import EGTRPredictor
from egtr.lite import LitePredictor
from egtr.structures import SceneGraph
from egtr.structures.agreement import share_of_triplets

from .agreement import TOP_K


def measure_equality(cfg: CfgNode, files: Sequence[str], images: int | None = None) -> dict[str, Any]:
    """Compare exported models with MODEL.WEIGHTS on DATASETS.TEST[0].

    Args:
        cfg: the configuration of the model that was exported.
        files: exported models. Each ``.xml`` counts twice: calculated in float32 and in bfloat16.
        images: use only this number of images, from the first; None: all.

    Returns:
        "images": their number. "R@50": of the model in PyTorch, percent. "exported": for each file and precision the
        largest differences of "logits" and "boxes" (boxes in 0..1 of the image), the share "same" of the 50 best
        triplets that are also the 50 best in PyTorch, mean over images, and "R@50 change" in points.

    Raises:
        WeightsError: a model cannot be opened.
        DataError: the dataset cannot be read.
    """
    name = cfg.DATASETS.TEST[0]
    predictors, threads = {}, torch.get_num_threads()
    for file in map(Path, files):
        for precision in ("float32", "bfloat16") if file.suffix == ".xml" else ("float32",):
            predictors[f"{file.name}, {precision}"] = LitePredictor(file, threads=threads, precision=precision)
    model = EGTRPredictor(cfg).model.eval()
    evaluators = {
        label: SceneGraphEvaluator(name, top_k=(TOP_K,), distributed=False) for label in ("PyTorch", *predictors)
    }
    found: dict[str, list[tuple[float, float, float]]] = {label: [] for label in predictors}
    for inputs in tqdm(islice(build_test_loader(cfg, name), images), unit="image", disable=None, leave=False):
        with torch.inference_mode():
            (result,) = model(inputs)
        evaluators["PyTorch"].process(inputs, [result])
        for label, predictor in predictors.items():
            graph = predictor(inputs[0]["file_name"])
            found[label].append(compare_graphs(result["scene_graph"], graph))
            evaluators[label].process(inputs, [result | {"scene_graph": graph}])
    recall = {label: evaluator.evaluate()["sgdet"][f"R@{TOP_K}"] for label, evaluator in evaluators.items()}
    exported = {}
    for label, rows in found.items():
        logits, boxes, same = zip(*rows, strict=True)
        exported[label] = {"logits": max(logits), "boxes": max(boxes), "same": statistics.mean(same)}
        exported[label][f"R@{TOP_K} change"] = recall[label] - recall["PyTorch"]
    return {"images": len(rows), f"R@{TOP_K}": recall["PyTorch"], "exported": exported}


def compare_graphs(ours: SceneGraph, theirs: SceneGraph) -> tuple[float, float, float]:
    """Compare two graphs of one image with their predictions.

    Returns:
        The largest difference of logits; of boxes, in 0..1 of the image; the share of the best triplets of ``ours``
        that are among the best of ``theirs``.
    """
    height, width = ours.image_size
    a, b = ours.prediction, theirs.prediction
    logits = np.abs(a.logits - b.logits).max()
    boxes = (np.abs(a.boxes - b.boxes) / [width, height, width, height]).max()
    return float(logits), float(boxes), share_of_triplets(ours, theirs, TOP_K)
