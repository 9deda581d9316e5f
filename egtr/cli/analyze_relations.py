"""Measure whether the decoder's self-attention encodes relations, for a model and a dataset.

Writes analysis.json, attention_auc.png, gates.png, uncertainty.png, and heat maps of the attention between the
objects of single images.
"""

import argparse
import json
import math
from pathlib import Path

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import use_model
from .parsing import add_limit, whole_number

EXAMPLES = """
example:
  %(prog)s --model scenes --dataset scenes_val --limit 100 --output output/analysis
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--dataset", metavar="NAME", help="a registered dataset (default: DATASETS.TEST)")
    add_limit(parser)
    hidden = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    parser.add_argument("--num-images", type=whole_number(1), dest="limit", **hidden)
    parser.add_argument(
        "--image-id",
        nargs="+",
        default=[],
        metavar="ID",
        help="draw heat maps of these images (default: the one with most related pairs)",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")


def run(args: argparse.Namespace) -> int:
    use_model(args, DEFAULT_MODEL)

    from egtr.config import import_extensions
    from egtr.data import get_metadata
    from egtr.data.image import load_image
    from egtr.experiments.relation_analysis import collect_relations, summarize_relations
    from egtr.experiments.relation_plots import (
        draw_attention_auc,
        draw_attention_maps,
        draw_gates,
        draw_uncertainty,
    )
    from egtr.inference import EGTRPredictor
    from egtr.inference.export import unique_stems
    from egtr.modeling.explain import source_names
    from egtr.structures import ConfigurationError, DataError
    from egtr.structures.files import write_text
    from egtr.visualization.charts import save_figure

    import_extensions(args.extension)
    predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
    dataset = args.dataset or (predictor.cfg.DATASETS.TEST or ("",))[0]
    if not dataset:
        raise ConfigurationError("DATASETS.TEST is empty: name a dataset with --dataset")
    images = collect_relations(predictor.cfg, predictor.model, dataset, args.limit)
    chosen = [image for image in images if str(image.image_id) in args.image_id]
    if len(chosen) < len(args.image_id):
        missing = sorted(set(args.image_id) - {str(image.image_id) for image in chosen})
        raise DataError(f"--image-id: not among the {len(images)} images of {dataset!r}: {', '.join(missing)}")
    metadata = get_metadata(dataset)
    summary = summarize_relations(images, metadata.predicate_classes, source_names(predictor.model))

    args.output.mkdir(parents=True, exist_ok=True)
    about = {"dataset": dataset, "weights": predictor.cfg.MODEL.WEIGHTS}
    write_text(args.output / "analysis.json", json.dumps(_without_nan(about | summary), indent=1) + "\n")
    save_figure(draw_attention_auc(summary), args.output / "attention_auc.png")
    save_figure(draw_uncertainty(images, summary["uncertainty"]), args.output / "uncertainty.png")
    if summary["gates"]:
        save_figure(draw_gates(summary["gates"]), args.output / "gates.png")
    chosen = chosen or [max(images, key=lambda image: image.related.sum())]
    for image, stem in zip(chosen, unique_stems([image.file_name for image in chosen]), strict=True):
        figure = draw_attention_maps(
            load_image(image.file_name), image, metadata.thing_classes, metadata.predicate_classes
        )
        save_figure(figure, args.output / f"attention_{stem}.png")
    print(_text(summary))
    print(f"\nNumbers and images are in {args.output}")
    return 0


def _text(summary: dict) -> str:
    attention, others = summary["attention"], summary["others"]
    lines = [
        f"{summary['num_related']} of {summary['num_pairs']} pairs are related ({summary['num_images']} images)",
        "AUC of attention, a row for each layer, a column for each head:",
        *(" ".join(f"{value:.3f}" for value in row) for row in attention["auc"]),
        "The same for attention from object to subject:",
        *(" ".join(f"{value:.3f}" for value in row) for row in attention["auc_reversed"]),
        *(f"AUC of {name}: {scores['auc']:.3f}" for name, scores in others.items() if scores),
    ]
    if summary["gates"]:
        for name in ("related", "unrelated"):
            pairs = zip(summary["gates"]["sources"], summary["gates"][name], strict=True)
            lines.append(f"Mean gate, {name} pairs: " + ", ".join(f"{source} {value:.3f}" for source, value in pairs))
    correlation = ", ".join(f"{name} {value:.3f}" for name, value in summary["uncertainty"].items())
    return "\n".join([*lines, f"Correlation of uncertainty with IoU: {correlation}"])


def _without_nan(value):
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
