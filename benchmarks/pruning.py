"""The gain of computing relations only for promising pairs."""

import statistics
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn
from tqdm import tqdm

from egtr.data import build_test_loader
from egtr.inference.predictor import EGTRPredictor
from egtr.modeling.outputs import EGTROutput
from egtr.modeling.postprocessing import build_prediction, build_pruned_prediction
from egtr.structures import SceneGraph
from egtr.structures.errors import ConfigurationError

from .case import Case, draw_queries
from .measure import Contestant, measure_time

# Logits around the first give scores of a few percent, as a trained model gives to queries without an object. If the
# second is added to the logit of a class, it scores nearly 1, by softmax and by sigmoid.
UNLIKELY, LIKELY = -5.0, 10.0


def measure_pruning(case: Case, queries: Sequence[int], top_k: int, sure: float, runs: int) -> dict[str, Any]:
    """Measure the time of relation part, record and ranking, with the promising pairs and with all pairs.

    Args:
        case: the model; weights, queries and keys are random.
        queries: numbers of object queries N to measure at, each at least 2.
        top_k: number K of triplets in the ranking.
        sure: share of the queries, 0 to 1, that get a score of nearly 1 for their class. Random weights give no such
            score, and then most pairs are about equally promising.
        runs: number of runs after a first one; the median counts.

    Returns:
        Lists over ``queries``: "pruned_seconds" and "dense_seconds" of a batch, and "pair_share", the share of the
        N * N pairs whose relations were computed with pruning, mean over the batch. It is 1 if there are few pairs or
        many promising ones: then it is cheaper to compute all pairs, and both do the same.

    Raises:
        ConfigurationError: there is no relation head, or it or the pair function cannot score single pairs.
    """
    found: dict[str, list] = {"queries": list(queries), "pruned_seconds": [], "dense_seconds": [], "pair_share": []}
    for number in queries:
        contestants = build_pruning(case.with_opts("MODEL.EGTR.NUM_QUERIES", number), top_k, sure)
        timings = measure_time(contestants, runs)
        for name, timing in timings.items():
            found[f"{name}_seconds"].append(timing.seconds)
        graphs = contestants["pruned"].step(contestants["pruned"].inputs)
        found["pair_share"].append(statistics.mean(graph.prediction.pair_share for graph in graphs))
    return {"top_k": top_k, "sure": sure, **found}


def build_pruning(case: Case, top_k: int, sure: float) -> dict[str, Contestant]:
    """Build contestants from decoder output to ranked graphs, with promising pairs ("pruned") and all ("dense").

    Both have the same weights and inputs; a step returns a list of graphs, one an image.
    """
    model = case.build_model().eval()
    if model.relation is None or not model.relation.scores_single_pairs:
        raise ConfigurationError("MODEL.EGTR.RELATION: this model has no relation head that scores single pairs")
    size = (case.height, case.width)
    inputs, small = (_draw_inputs(case, model, n, sure) for n in (case.cfg().MODEL.EGTR.NUM_QUERIES, 4))
    return {
        name: Contestant(partial(_predict, model, name == "pruned", size, top_k), inputs, small)
        for name in ("pruned", "dense")
    }


def _draw_inputs(case: Case, model: nn.Module, num_queries: int, sure: float) -> tuple:
    queries, keys, hidden, logits = draw_queries(case, model.device, num_queries)
    logits = logits + UNLIKELY
    logits[:, : round(sure * num_queries), 0] += LIKELY
    generator = torch.Generator().manual_seed(1)
    boxes = torch.rand(case.batch, num_queries, 4, generator=generator).to(model.device)
    return queries, keys, hidden, logits, boxes


@torch.inference_mode()
def _predict(
    model: nn.Module, pruned: bool, size: tuple[int, int], top_k: int, inputs: tuple[Any, Any, Tensor, Tensor, Tensor]
) -> list[SceneGraph]:
    queries, keys, hidden, logits, boxes = inputs
    part = model.relation
    pairs = part.source(queries, keys, hidden)
    output = EGTROutput(
        logits=logits,
        pred_boxes=boxes,
        relation_logits=None if pruned else part.frequency_bias.adjust(part.relation_logits(pairs, logits)),
        connectivity_logits=None if part.connectivity_head is None else part.connectivity_head(pairs),
        hidden_states=[hidden],
        queries=queries,
        keys=keys,
        gates=pairs.gates,
        memory=hidden,
        pairs=pairs,
    )
    graphs = []
    for index in range(len(logits)):
        if pruned:
            prediction = build_pruned_prediction(output, index, size, part, top_k)
        else:
            prediction = build_prediction(output, index, size)
        graphs.append(SceneGraph.from_prediction(prediction, top_k=top_k))
    return graphs


def measure_pair_share(cfg: CfgNode, top_k: Sequence[int], images: int | None = None) -> dict[str, Any]:
    """Count the pairs whose relations the trained model computes for the K best triplets of an image.

    The weights are MODEL.WEIGHTS, and the images come from DATASETS.TEST[0]. Here the model is asked for exactly K
    triplets; in an evaluation it is asked for at least the 100 that Open Images ranks.

    Args:
        top_k: values of K, at least 1 each.
        images: use only this number of images, from the first; None: all.

    Returns:
        "images" and "queries", their numbers; lists over "top_k": "pair_share", the share of the pairs whose
        relations were computed, mean over images, and "dense", the number of images in which all pairs were.

    Raises:
        WeightsError: the weights cannot be read.
        DataError: the dataset cannot be read.
        ConfigurationError: the model has no relation part.
    """
    model = EGTRPredictor(cfg).model.eval()
    if model.relation is None:
        raise ConfigurationError("MODEL.EGTR.RELATION.ENABLED is False: there are no pairs to count; set it to True")
    predictions: dict[int, list] = {k: [] for k in top_k}
    loader = build_test_loader(cfg, cfg.DATASETS.TEST[0])
    for inputs in tqdm(islice(loader, images), unit="image", disable=None, leave=False):
        for k, found in predictions.items():
            model.max_rank = model.triplets_per_image = k
            with torch.inference_mode():
                found += [result["scene_graph"].prediction for result in model(inputs)]
    counted = next(iter(predictions.values()))
    return {
        "images": len(counted),
        "queries": counted[0].num_queries,
        "top_k": list(predictions),
        "pair_share": [statistics.mean(p.pair_share for p in found) for found in predictions.values()],
        "dense": [sum(p.max_rank is None for p in found) for found in predictions.values()],
    }
