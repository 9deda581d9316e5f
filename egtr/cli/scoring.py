"""Arguments and scores that ``egtr score`` and ``egtr compare`` share."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .checks import check_file
from .choices import DATASET_FORMATS, DUMPS, PROTOCOLS
from .parsing import UsageError, add_inputs, add_top_k, get_input, score, whole_number

if TYPE_CHECKING:
    from egtr.evaluation import Protocol
    from egtr.structures import TripletCounts

THIRDS = (
    "Note: head, body and tail are thirds of the predicates by their frequency in training. The 4, 12 and 34 "
    "predicates of BGNN are another metric: --groups bgnn."
)


class Scored(NamedTuple):
    """Metrics, and the other contents of a report.

    Attributes:
        predictions: the file or folder that was scored.
        results: protocol name to metrics.
        predicate_names: R names, or None.
        training: triplets of the training set, or None.
        about: the sources of predictions and ground truth.
        protocols: the conventions, in the order of ``results``.
        groups: head, body and tail if they were given, or None.
    """

    predictions: str
    results: dict[str, dict[str, Any]]
    predicate_names: tuple[str, ...] | None
    training: "TripletCounts | None"
    about: dict[str, Any]
    protocols: "tuple[Protocol, ...]"
    groups: dict[str, Any] | None


def protocol(text: str) -> str:
    """Check an argument that names a protocol, with changes or without, or a YAML file of some."""
    name = text.partition(",")[0]
    if name not in PROTOCOLS and not text.endswith((".yaml", ".yml")):
        raise argparse.ArgumentTypeError(f"{name} is unknown, choose one of {', '.join(PROTOCOLS)}, or a YAML file")
    return text


def add_scoring_arguments(parser: argparse.ArgumentParser, protocols: Sequence[str], default: str) -> None:
    """Add the arguments that :func:`score_arguments` reads, and ``--output``.

    Args:
        parser: of the subcommand.
        protocols: the default of ``--protocol``.
        default: the same in words.
    """
    add_inputs(parser, "prediction file, or folder of its parts", "FILE", aliases=["--predictions"])
    add_top_k(parser, "the K of R@K (20 50 100)", type=whole_number(1), nargs="+", default=[20, 50, 100])
    argument = parser.add_argument(
        "--protocol",
        nargs="+",
        default=list(protocols),
        type=protocol,
        metavar="NAME",
        help=f"conventions, the headline first: {', '.join(PROTOCOLS)}, with changes (motifs,iou_plus_one=no), or a "
        f"YAML file of your own (default: {default})",
    )
    # Words with changes are allowed too, so these are no choices.
    argument.completer = lambda **_: PROTOCOLS
    parser.add_argument(
        "--from",
        dest="source",
        choices=DUMPS,
        help="the file is another project's: eval_results.pytorch of Scene-Graph-Benchmark (sgb) or PySGG "
        "(pysgg_oi), results of OpenPSG, JSON of SGBench",
    )
    parser.add_argument(
        "--names",
        metavar="NAME",
        help="with --from: the names of classes and predicates, which come with egtr, where neither the file nor the "
        "ground truth has any: vg150",
    )
    parser.add_argument(
        "--zero-shot",
        metavar="FILE",
        help="the triplets of zero-shot recall, in JSON or as Scene-Graph-Benchmark's file (default: all that "
        "training lacks)",
    )
    parser.add_argument(
        "--groups",
        metavar="FILE",
        help="head, body and tail in JSON, or bgnn: BGNN's 4, 12 and 34 predicates (default: thirds by frequency)",
    )
    parser.add_argument(
        "--precision-at",
        type=score,
        metavar="SCORE",
        help="also the precision of triplets of at least this score; only for datasets that annotate every relation",
    )
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


def score_arguments(args: argparse.Namespace) -> Scored:
    """Score as the command line says, with a progress bar; another project's file by way of a temporary one.

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
    if args.names is not None and args.source is None:
        raise UsageError("--names is for files of other projects; name the project by --from")
    for path in (predictions, args.json):
        if path is not None:
            check_file(path)

    from egtr.evaluation import (
        Annotations,
        get_protocols,
    )
    from egtr.structures import WriteError

    protocols = get_protocols(args.protocol)

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
    with tempfile.TemporaryDirectory() as folder:
        scored = predictions
        if args.source is not None:
            from egtr.evaluation.foreign_dumps import convert_dump

            scored = str(Path(folder) / "converted.npz")
            convert_dump(args.source, predictions, scored, annotations, _read_names(args.names))
        return _score(args, predictions, scored, annotations, protocols)


def _read_names(name: str | None) -> tuple[list[str], list[str]] | None:
    if name is None:
        return None
    from egtr.structures.known_names import get_known_names

    class_names, predicate_names = get_known_names(name)
    if predicate_names is None:
        raise UsageError(f"--names {name}: has no names of predicates; take vg150")
    return class_names, predicate_names


def _score(args: argparse.Namespace, predictions: str, scored: str, annotations: Any, protocols: Any) -> Scored:
    """Score the prediction file ``scored``, which holds ``predictions``."""
    from egtr.evaluation import read_groups, read_meta, read_zero_shot, score_predictions

    meta = read_meta(scored)
    class_names = meta.class_names or (annotations and annotations.class_names)
    predicate_names = meta.predicate_names or (annotations and annotations.predicate_names)
    zero_shot = groups = None
    if args.zero_shot is not None:
        if class_names is None or predicate_names is None:
            raise UsageError(
                f"--zero-shot needs names of classes and predicates, which {predictions} lacks; add them to "
                "its meta, or name the ground truth by --dataset or --json; with --from, --names vg150 will do"
            )
        zero_shot = read_zero_shot(args.zero_shot, class_names, predicate_names)
    if args.groups is not None:
        groups = read_groups(args.groups, predicate_names)
    results = score_predictions(
        scored,
        protocols,
        args.top_k,
        annotations=annotations,
        bootstrap=args.bootstrap,
        partial=args.partial,
        progress=True,
        zero_shot=zero_shot,
        groups=groups,
        precision_at=args.precision_at,
    )
    about = {"predictions": predictions, "dataset": annotations and annotations.name}
    about |= {name: value for name, value in (("zero_shot", args.zero_shot), ("groups", args.groups)) if value}
    if meta.training is not None and groups is None:
        print(THIRDS, file=sys.stderr)
    return Scored(predictions, results, predicate_names, meta.training, about, protocols, groups)
