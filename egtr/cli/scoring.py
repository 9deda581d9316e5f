"""Arguments and scores that ``egtr score`` and ``egtr compare`` share."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .checks import check_file
from .choices import DATASET_FORMATS
from .parsing import UsageError, add_inputs, add_top_k, get_input, whole_number

if TYPE_CHECKING:
    from egtr.structures import TripletCounts


class Scored(NamedTuple):
    """Metrics, and the other contents of a report.

    Attributes:
        predictions: the file or folder that was scored.
        results: protocol name to metrics.
        predicate_names: R names, or None.
        training: triplets of the training set, or None.
        about: the sources of predictions and ground truth.
    """

    predictions: str
    results: dict[str, dict[str, Any]]
    predicate_names: tuple[str, ...] | None
    training: "TripletCounts | None"
    about: dict[str, Any]


def add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`score_arguments` reads, and ``--output``."""
    add_inputs(parser, "prediction file, or folder of its parts", "FILE", aliases=["--predictions"])
    add_top_k(parser, "the K of R@K (20 50 100)", type=whole_number(1), nargs="+", default=[20, 50, 100])
    parser.add_argument(
        "--bootstrap", type=int, default=0, metavar="N", help="95%% intervals from N resamplings, such as 1000"
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="a registered dataset with the ground truth (default: the ground truth in the file)",
    )
    parser.add_argument("--format", choices=DATASET_FORMATS, help="format of --json")
    parser.add_argument("--json", metavar="FILE[#split]", help="annotations with the ground truth")
    parser.add_argument(
        "--partial", action="store_true", help="score the other images if predictions of some are missing"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the results there, as JSON and CSV")


def score_arguments(args: argparse.Namespace, protocols: Sequence[str]) -> Scored:
    """Score as the command line says, with a progress bar.

    Raises:
        UsageError: arguments that do not go together.
        EGTRError: see :func:`egtr.evaluation.score_predictions`.
        MissingDetectron2Error: ground truth out of a dataset needs Detectron2.
    """
    predictions = get_input(args, "prediction file, or folder of its parts")
    if (args.format is None) != (args.json is None):
        raise UsageError("--format and --json belong together; give both or neither")
    if args.dataset is not None and args.json is not None:
        raise UsageError("--dataset and --json both name ground truth; give one of them")
    for path in (predictions, args.json):
        if path is not None:
            check_file(path)

    from egtr.evaluation import Annotations, read_meta, score_predictions
    from egtr.structures import WriteError

    if args.output is not None:
        # Scoring may take long: its results must not be lost because there is no place for them.
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"--output {args.output}: {error.strerror}; name a folder that can be written"
            raise WriteError(message) from error
    annotations = None
    if args.dataset is not None:
        annotations = Annotations.of_dataset(args.dataset)
    elif args.json is not None:
        annotations = Annotations.of_file(args.format, args.json)
    results = score_predictions(
        predictions,
        protocols,
        args.top_k,
        annotations=annotations,
        bootstrap=args.bootstrap,
        partial=args.partial,
        progress=True,
    )
    meta = read_meta(predictions)
    names = meta.predicate_names or (annotations and annotations.predicate_names)
    about = {"predictions": predictions, "dataset": annotations and annotations.name}
    return Scored(predictions, results, names, meta.training, about)
