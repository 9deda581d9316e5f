"""The arguments of training are Detectron2's, which cannot be asked for them without importing torch."""

from detectron2.engine import default_argument_parser

from egtr.config import egtr_argument_parser


def describe(parser):
    return {
        action.dest: (action.option_strings, action.default, action.type, action.nargs, type(action).__name__)
        for action in parser._actions
    }


def test_they_are_detectron2s_and_two_more():
    ours, theirs = describe(egtr_argument_parser()), describe(default_argument_parser())
    assert ours.pop("extension") == (["--extension"], [], None, None, "_AppendAction")
    assert ours.pop("overwrite") == (["--overwrite"], False, None, 0, "_StoreTrueAction")
    # Where processes meet is a free port here, a fixed one there.
    strings, default, *rest = ours["dist_url"]
    assert default == "auto" and theirs["dist_url"][1].startswith("tcp://127.0.0.1:")
    ours["dist_url"] = (strings, theirs["dist_url"][1], *rest)
    assert ours == theirs


def test_pairs_go_on_to_the_end():
    args = egtr_argument_parser().parse_args(["--eval-only", "SEED", "3", "OUTPUT_DIR", "--resume"])
    assert args.eval_only and not args.resume
    assert args.opts == ["SEED", "3", "OUTPUT_DIR", "--resume"]
