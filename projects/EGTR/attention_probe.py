#!/usr/bin/env python
"""Measure how well by-products, the last hidden state and boxes tell related pairs of objects from the others.

Compare models in the course of a training, and models that were trained in different ways:

    python projects/EGTR/attention_probe.py --extension projects/EGTR/detached.py --output output/probe \
        before=output/sweeps/early_detector/model_ema.pth \
        during=output/sweeps/runs/base/seed1/model_0000299.pth \
        after=output/sweeps/runs/base/seed1/model_final.pth \
        detached=output/sweeps/runs/by-products_detached/seed1/model_final.pth

config.yaml is read from the folder of each file. The result has two parts. First, the AUC of the attention weight of
each layer and head: over all pairs, and among pairs whose boxes are equally far apart, since related objects are
close to each other. Second, the AUC of small perceptrons that learn from one source each, all with the same hidden
layer and the same budget. They are trained on pairs of training images and scored on other images; the model stays as
it is. The connectivity head of a model cannot answer this, because it reads all sources.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.evaluation.evaluator import inference_context
from tabulate import tabulate
from torch import Tensor, nn

from egtr.cli.parsing import whole_number
from egtr.config import import_extensions
from egtr.config.arguments import add_extension_argument
from egtr.experiments.relation_analysis import auc, load_annotated, match_in_order, relations_of_output, run_annotated
from egtr.inference import EGTRPredictor
from egtr.modeling.relation.tasks import box_offsets
from egtr.structures import ConfigurationError, DataError, EGTRError
from egtr.structures.files import write_text, writing
from egtr.visualization.charts import heat_map, new_figure, plain, save_figure

BINS, HIDDEN, EPOCHS, BATCH = 10, 64, 15, 512


@dataclass(frozen=True)
class Pairs:
    """All ordered pairs of two different matched objects of some images.

    P pairs, L decoder layers, H heads, d width of the decoder, C classes.

    Attributes:
        related: (P,) bool, True if any relation is annotated.
        distance: (P,) distance between the centres of the annotated boxes, in sides of the image.
        attention: (2, L, H, P) attention weight of the subject to the object, and the other way round.
        sources: name of a source to its features (P, width).
    """

    related: np.ndarray
    distance: np.ndarray
    attention: np.ndarray
    sources: Mapping[str, Tensor]


def collect_pairs(cfg, model, dataset: str, num_images: int | None) -> Pairs:
    """Run a model on the first images of a dataset, and collect the features of all pairs.

    Args:
        cfg: the configuration of the model.
        model: an :class:`~egtr.modeling.EGTR`, with or without a relation part.
        dataset: a registered dataset.
        num_images: None: all.

    Raises:
        DataError: the dataset does not fit the model.
    """
    rows = []
    with inference_context(model), torch.no_grad():
        for record in load_annotated(cfg, dataset, num_images):
            rows.append(_pairs_of_image(model, record, cfg.MODEL.EGTR.TRANSFORMER.NHEADS, cfg.MODEL.EGTR.NUM_CLASSES))
    return Pairs(
        np.concatenate([row.related for row in rows]),
        np.concatenate([row.distance for row in rows]),
        np.concatenate([row.attention for row in rows], axis=-1),
        {name: torch.cat([row.sources[name] for row in rows]) for name in rows[0].sources},
    )


def _pairs_of_image(model, record, num_heads: int, num_classes: int) -> Pairs:
    output, target = run_annotated(model, record)
    about = {"image_id": record["image_id"], "file_name": record["file_name"]}
    image = relations_of_output(output, target, model.criterion, num_heads, **about)
    queries = match_in_order(output, target, model.criterion).queries
    subjects, objects = (torch.as_tensor(ends) for ends in np.nonzero(image.pairs))
    boxes, classes = torch.as_tensor(image.boxes), F.one_hot(torch.as_tensor(image.classes), num_classes).float()

    def join(of_subjects: Tensor, of_objects: Tensor) -> Tensor:
        return torch.cat([of_subjects[subjects], of_objects[objects]], dim=1)

    def matched(states: Tensor) -> Tensor:
        return states[0, queries].float().cpu()

    layers = [join(matched(q), matched(k)) for q, k in zip(output.queries, output.keys, strict=True)]
    state = matched(output.hidden_states[-1])
    last = join(state, state)
    distance = torch.as_tensor(-image.closeness[image.pairs])[:, None].float()
    both_ways = np.stack([image.attention, image.attention.swapaxes(-1, -2)])[..., image.pairs]
    weights = torch.as_tensor(both_ways).flatten(0, 2).T.clamp(min=1e-6).log()
    geometry = torch.cat([join(boxes, boxes), box_offsets(boxes[subjects], boxes[objects]), distance], dim=1)
    sources = {
        "boxes": geometry,
        "boxes and classes": torch.cat([geometry, join(classes, classes)], dim=1),
        "attention weights": weights,
        **{f"by-products of layer {number}": layer for number, layer in enumerate(layers)},
        "by-products": torch.cat(layers, dim=1),
        "last hidden state": last,
        "by-products and last hidden state": torch.cat([*layers, last], dim=1),
    }
    return Pairs(image.related[image.pairs], distance[:, 0].numpy(), both_ways, sources)


def auc_at_equal_distance(scores: np.ndarray, related: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Compute the AUC among pairs of similar distance.

    Pairs are divided by distance into ten bins of equal size. The result is the mean of the AUCs of the bins,
    weighted by their number of comparisons (related pairs times others).

    Args:
        scores: (..., P).
        related: (P,) bool.
        distance: (P,).

    Returns:
        (...) values in 0..1; NaN if no bin has pairs of both kinds.
    """
    bins = np.array_split(np.argsort(distance, kind="stable"), BINS)
    bins = [chosen for chosen in bins if 0 < related[chosen].sum() < len(chosen)]
    if not bins:
        return np.full(np.shape(scores)[:-1], np.nan)
    weights = [related[chosen].sum() * (~related[chosen]).sum() for chosen in bins]
    values = [auc(scores[..., chosen], related[chosen]) for chosen in bins]
    return np.average(values, axis=0, weights=weights)


def score_by_probe(train: Tensor, labels: np.ndarray, test: Tensor, seed: int) -> np.ndarray:
    """Train a perceptron with one hidden layer on pairs, and score other pairs.

    Args:
        train: (P, width) features.
        labels: (P,) bool.
        test: (Q, width) features.
        seed: of its weights and of the order of the pairs.

    Returns:
        (Q,) logits.
    """
    mean, std = train.mean(0), train.std(0).clamp(min=1e-4)
    train, test, wanted = (train - mean) / std, (test - mean) / std, torch.as_tensor(labels).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = nn.Sequential(nn.Linear(train.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Flatten(0))
        optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.1)
        for _ in range(EPOCHS):
            for chosen in torch.randperm(len(train)).split(BATCH):
                loss = F.binary_cross_entropy_with_logits(probe(train[chosen]), wanted[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        return probe(test).numpy()


def measure(train: Pairs, test: Pairs, seeds: Sequence[int]) -> dict:
    """Measure one model.

    Args:
        train, test: pairs of other images each.
        seeds: of the probes.

    Returns:
        Plain numbers, lists and dicts: "pairs" and "related" of the test; "closeness", the AUC of minus the distance;
        "attention" and "attention_at_equal_distance", AUC by direction, layer and head; "probes", for each source its
        "width" and the AUCs "auc" and "at_equal_distance" of each seed.

    Raises:
        DataError: there is no AUC, because too few pairs are related or unrelated.
    """
    given = test.related, test.distance
    if np.isnan(auc_at_equal_distance(test.attention, *given)).any() or not 0 < train.related.mean() < 1:
        raise DataError("related and other pairs at the same distance are too few for an AUC; take more images")
    probes = {}
    for name, features in train.sources.items():
        scores = np.stack([score_by_probe(features, train.related, test.sources[name], seed) for seed in seeds])
        probes[name] = {
            "width": features.shape[1],
            "auc": auc(scores, test.related).tolist(),
            "at_equal_distance": auc_at_equal_distance(scores, *given).tolist(),
        }
    return {
        "pairs": len(test.related),
        "related": int(test.related.sum()),
        "closeness": float(auc(-test.distance, test.related)),
        "attention": auc(test.attention, test.related).tolist(),
        "attention_at_equal_distance": auc_at_equal_distance(test.attention, *given).tolist(),
        "probes": probes,
    }


def probe_table(results: Mapping[str, Mapping]) -> str:
    """Write a Markdown table: a row for each source, a column for each model, cells "all pairs / equal distance"."""

    def cell(summary, overall, at_equal_distance) -> str:
        return f"{summary(overall):.3f} / {summary(at_equal_distance):.3f}"

    measured = results.values()
    rows = [
        ["closeness of the boxes", *(f"{r['closeness']:.3f}" for r in measured)],
        ["best head", *(cell(np.max, r["attention"], r["attention_at_equal_distance"]) for r in measured)],
    ]
    for source in next(iter(measured))["probes"]:
        probes = [result["probes"][source] for result in measured]
        rows.append([f"probe on {source}", *(cell(np.mean, p["auc"], p["at_equal_distance"]) for p in probes)])
    headers = ["AUC over all pairs / at equal distance", *results]
    return tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)


def draw(results: Mapping[str, Mapping]):
    """Draw the AUC of each layer and head at equal distance (subject to object), a panel for each model."""
    figure = new_figure(2.6 * len(results) + 1.4, 2.9)
    panels = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axes, (name, result) in zip(panels, results.items(), strict=True):
        values = np.array(result["attention_at_equal_distance"])[0]
        drawn = heat_map(axes, values, "RdBu_r", 0.0, 1.0)
        plain([axes.set_title(name, loc="left", fontsize=10)])
        axes.set_xticks(range(values.shape[1]), range(values.shape[1]))
        axes.set_yticks(range(values.shape[0]), range(values.shape[0]))
        axes.set_xlabel("head")
    panels[0].set_ylabel("decoder layer")
    figure.colorbar(drawn, ax=panels, shrink=0.9, label="AUC")
    title = "Attention of the subject to the object\nas a score for relations, at equal distance"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=FILE.pth", help="weights, with config.yaml beside them")
    parser.add_argument("--train", default="scenes_train", metavar="DATASET", help="of the probes (%(default)s)")
    parser.add_argument("--test", default="scenes_val", metavar="DATASET", help="of all numbers (%(default)s)")
    parser.add_argument(
        "--limit", type=whole_number(1), default=400, metavar="N", help="images of each dataset (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the probes (%(default)s)")
    add_extension_argument(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for probe.json and probe.png")
    args = parser.parse_args(argv)
    try:
        import_extensions(args.extension)
        results = {}
        for model in args.models:
            name, _, path = model.partition("=")
            if not path:
                raise ConfigurationError(f"{model}: write a name and the weights, such as before=model_final.pth")
            if name in results:
                raise ConfigurationError(f"{model}: another model has the name {name}; give each one its own")
            config = Path(path).with_name("config.yaml")
            predictor = EGTRPredictor.from_config_file(str(config), ["MODEL.WEIGHTS", path])
            datasets = (args.train, args.test)
            pairs = [collect_pairs(predictor.cfg, predictor.model, dataset, args.limit) for dataset in datasets]
            results[name] = measure(*pairs, args.seeds)
        print(probe_table(results))
        with writing(args.output):
            args.output.mkdir(parents=True, exist_ok=True)
        write_text(args.output / "probe.json", f"{json.dumps(results, indent=1)}\n")
        save_figure(draw(results), args.output / "probe.png")
    except EGTRError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
