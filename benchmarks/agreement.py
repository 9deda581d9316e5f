"""Comparison of the triplets that float32 and bfloat16 find."""

import statistics
from itertools import islice
from typing import Any

import torch
from detectron2.config import CfgNode
from tqdm import tqdm

from egtr.data import build_test_loader
from egtr.evaluation import SceneGraphEvaluator
from egtr.inference.predictor import EGTRPredictor
from egtr.structures import SceneGraph

# Triplets of an image that are compared.
TOP_K = 50


def measure_agreement(cfg: CfgNode, images: int | None = None) -> dict[str, Any]:
    """Compare TEST.AMP on and off, with MODEL.WEIGHTS on DATASETS.TEST[0].

    Args:
        images: use only this number of images, from the first; None: all.

    Returns:
        "images": their number. "kept": the share of the 50 best float32 triplets (subject query, object query,
        predicate) that are among the 50 best in bfloat16, mean over images. "R@50": precision to percent.

    Raises:
        WeightsError: the weights cannot be read.
        DataError: the dataset cannot be read.
    """
    cfg = cfg.clone()
    cfg.defrost()
    models, evaluators = {}, {}
    name = cfg.DATASETS.TEST[0]
    for precision, amp in (("float32", False), ("bfloat16", True)):
        cfg.TEST.AMP = amp
        models[precision] = EGTRPredictor(cfg).model.eval()
        evaluators[precision] = SceneGraphEvaluator(name, top_k=(TOP_K,), distributed=False)
    kept = []
    for inputs in tqdm(islice(build_test_loader(cfg, name), images), unit="image", disable=None, leave=False):
        found = {}
        for precision, model in models.items():
            with torch.inference_mode():
                results = model(inputs)
            evaluators[precision].process(inputs, results)
            found[precision] = best_triplets(results[0]["scene_graph"])
        kept.append(len(found["float32"] & found["bfloat16"]) / max(len(found["float32"]), 1))
    recall = {precision: evaluator.evaluate()["sgdet"][f"R@{TOP_K}"] for precision, evaluator in evaluators.items()}
    return {"images": len(kept), "kept": statistics.mean(kept), f"R@{TOP_K}": recall}


def best_triplets(graph: SceneGraph) -> set[tuple[int, int, int]]:
    """List the TOP_K best triplets of a graph: subject query, object query, predicate."""
    queries = graph.triplet_queries[:TOP_K]
    predicates = graph.triplets[:TOP_K, 2]
    return {(int(s), int(o), int(p)) for (s, o), p in zip(queries, predicates, strict=True)}
