"""The command line that tools/evaluate_predictions.py and tools/compare_protocols.py share."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from egtr.structures import ConfigurationError, TripletCounts, WriteError

from .offline import Annotations, score_predictions
from .prediction_file import read_meta


def scoring_parser(description: str) -> argparse.ArgumentParser:
    """Create a parser of the arguments that :func:`score_arguments` reads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--predictions", required=True, metavar="FILE", help="prediction file, or folder of its parts"
    )
    parser.add_argument(
        "--topk", type=int, nargs="+", default=[20, 50, 100], metavar="K", help="the K of R@K (20 50 100)"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=0, metavar="N", help="95%% intervals out of N resamplings, such as 1000"
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="a registered dataset with the ground truth (default: that in the file)"
    )
    parser.add_argument("--format", metavar="NAME", help="format of --json, such as egtr or coco_sg")
    parser.add_argument("--json", metavar="FILE[#split]", help="annotations with the ground truth")
    parser.add_argument(
        "--partial", action="store_true", help="score what there is if predictions of some images are missing"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the results there, as JSON and CSV")
    return parser


class Scored(NamedTuple):
    """Metrics, and the other contents of a report.

    Attributes:
        results: protocol name to metrics.
        predicate_names: R names, or None.
        training: triplets of the training set, or None.
        about: the sources of predictions and ground truth.
    """

    results: dict[str, dict[str, Any]]
    predicate_names: tuple[str, ...] | None
    training: TripletCounts | None
    about: dict[str, Any]


def score_arguments(args: argparse.Namespace, protocols: Sequence[str]) -> Scored:
    """Score as the command line says, with a progress bar.

    Raises:
        ConfigurationError: arguments that do not go together.
        WriteError: ``--output`` cannot be created.
        MissingDetectron2Error: ground truth from a dataset needs Detectron2.
        EGTRError: see :func:`~egtr.evaluation.score_predictions`.
    """
    if (args.format is None) != (args.json is None):
        raise ConfigurationError("--format and --json belong together; give both or neither")
    if args.dataset is not None and args.json is not None:
        raise ConfigurationError("--dataset and --json both name ground truth; give one of them")
    if args.output is not None:
        # Scoring may take long: its results must not be lost because there is no place for them.
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(
                f"--output {args.output}: {error.strerror}; name a folder that can be written"
            ) from error
    annotations = None
    if args.dataset is not None:
        annotations = Annotations.of_dataset(args.dataset)
    elif args.json is not None:
        annotations = Annotations.of_file(args.format, args.json)
    results = score_predictions(
        args.predictions,
        protocols,
        args.topk,
        annotations=annotations,
        bootstrap=args.bootstrap,
        partial=args.partial,
        progress=True,
    )
    meta = read_meta(args.predictions)
    names = meta.predicate_names or (annotations and annotations.predicate_names)
    about = {"predictions": args.predictions, "dataset": annotations and annotations.name}
    return Scored(results, names, meta.training, about)
