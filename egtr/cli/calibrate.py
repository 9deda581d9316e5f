"""Fit probabilities to the scores of a model, and write them into its record."""

import argparse
from pathlib import Path
from typing import Any

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import check_file, use_model
from .parsing import UsageError, whole_number

EXAMPLES = """
Fit on a validation split, never on images of training. The record is <weights>.model_info.json beside the weights, or
the metadata of a .safetensors; graphs of the model have probabilities from then on, and exported models keep them.

examples:
  %(prog)s --model scenes --dataset scenes_val --test scenes_test --output output/calibration
  %(prog)s --config-file output/mine/config.yaml --dataset mine_val
  %(prog)s --model scenes --predictions output/val/predictions_scenes_val --test output/test/predictions_scenes_test
  %(prog)s --model scenes --predictions FILE --test FILE --splits 20 --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--dataset", metavar="NAME", help="the registered dataset to fit to: the model predicts it")
    parser.add_argument("--predictions", metavar="FILE", help="saved predictions with annotations, in place of it")
    parser.add_argument(
        "--test", metavar="NAME|FILE", help="another dataset, or its saved predictions, to measure the result on"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write reliability diagram and numbers there")
    parser.add_argument(
        "--bootstrap", type=whole_number(0), default=1000, metavar="N", help="resamplings for intervals (%(default)s)"
    )
    parser.add_argument(
        "--splits",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="with --test: also measure sets of labels on N random halves of both datasets together, each time "
        "fitted to the other half (%(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="do not write the record")


def run(args: argparse.Namespace) -> int:
    if (args.dataset is None) == (args.predictions is None):
        raise UsageError("give either --dataset or --predictions, of a validation split")
    if args.output is not None and args.test is None:
        raise UsageError("--output holds what is measured on --test; name a dataset or a file there")
    if args.splits and args.test is None:
        raise UsageError("--splits mixes --dataset or --predictions with --test; name a dataset or a file there")
    if args.predictions is not None:
        check_file(args.predictions)
    use_model(args, DEFAULT_MODEL)

    from egtr.checkpoint.model_info import update_model_info
    from egtr.config import import_extensions, read_config
    from egtr.evaluation import calibration, calibration_report

    import_extensions(args.extension)
    cfg = read_config(args.config_file, args.opts)
    object_score = cfg.TEST.SCENE_GRAPH.OBJECT_SCORE
    if args.dataset is None:
        samples, name, exhaustive = read_samples(args.predictions, object_score)
    else:
        samples, exhaustive = predict_samples(cfg, args.dataset)
        name = args.dataset
    fitted = calibration.fit(samples, name, exhaustive, object_score)
    print(f"fitted to {len(samples)} images of {name}")
    if args.test is not None:
        if Path(args.test).exists():
            test, _, exhaustive = read_samples(args.test, object_score)
        else:
            test, exhaustive = predict_samples(cfg, args.test)
        measured = calibration_report.measure(test, fitted, args.bootstrap)
        if args.splits:
            found = calibration.split_coverage([*samples, *test], calibration_report.COVERAGE, args.splits)
            measured["splits"] = {"number": args.splits, **found}
        print(f"\n{args.test}: {len(test)} images\n\n{calibration_report.to_text(measured, exhaustive)}\n")
        if args.output is not None:
            print(*calibration_report.write(args.output, "calibration", test, fitted, measured, exhaustive), sep="\n")
    elif not exhaustive:
        print(calibration_report.SPARSE_NOTE)
    if not args.dry_run:
        print(update_model_info(cfg, {"calibration": fitted.to_dict()}))
    return 0


def read_samples(path: str, object_score: str) -> tuple[list[Any], str, bool]:
    """Compare saved predictions with the annotations in their file.

    Returns:
        The samples, the name of the dataset as far as the file's name has it, and whether it is exhaustive.
    """
    from tqdm.auto import tqdm

    from egtr.evaluation import list_images, read_meta, read_predictions
    from egtr.evaluation.displayed import sample_image
    from egtr.structures import PredictionError

    samples = []
    records = tqdm(read_predictions(path), "comparing", len(list_images(path)), unit="image")
    for image_id, prediction, truth in records:
        if truth is None:
            raise PredictionError(
                f"{path}: image {image_id!r} has no annotations, which a calibration needs; save the predictions "
                "with egtr evaluate, or name the dataset by --dataset"
            )
        samples.append(sample_image(prediction, truth, object_score))
    return samples, Path(path).stem.removeprefix("predictions_"), read_meta(path).exhaustive


def predict_samples(cfg: Any, dataset: str) -> tuple[list[Any], bool]:
    """Predict a registered dataset and compare it with its annotations; returns also if these are exhaustive."""
    from tqdm.auto import tqdm

    from egtr.data.catalog import get_metadata  # isort: skip - says how to install Detectron2 where it is missing
    from detectron2.data import DatasetCatalog

    from egtr.evaluation.displayed import sample_image
    from egtr.inference import EGTRPredictor
    from egtr.inference.report_images import check_names
    from egtr.structures import GroundTruth

    predictor = EGTRPredictor(cfg)
    metadata = get_metadata(dataset)
    check_names(predictor, metadata.thing_classes, metadata.predicate_classes, dataset)
    records = DatasetCatalog.get(dataset)
    results = predictor.predict([record["file_name"] for record in records])
    samples = []
    for record, result in tqdm(zip(records, results, strict=True), dataset, len(records), unit="image"):
        if result.error is not None:
            raise result.error
        truth = GroundTruth.from_dict(record)
        samples.append(sample_image(result.graph.prediction, truth, cfg.TEST.SCENE_GRAPH.OBJECT_SCORE))
    return samples, metadata.get("exhaustive", False) is True
