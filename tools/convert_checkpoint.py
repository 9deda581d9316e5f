#!/usr/bin/env python
"""Turn a released EGTR or detector, or a Hugging Face Deformable DETR, into a model of this library."""

import argparse
import sys

from egtr.checkpoint import convert_artifact
from egtr.structures import EGTRError

EPILOG = """
--artifact is a folder with config.json and
  checkpoints/epoch=*.ckpt                  of the released code, EGTR or detector; the highest epoch is taken
  model.safetensors or pytorch_model.bin    a Hugging Face Deformable DETR on a timm backbone

--output receives model.pth, model.safetensors and config.yaml, for
  python tools/demo.py --config-file OUTPUT/config.yaml --input photo.jpg --output graphs
  python tools/train_net.py --config-file OUTPUT/config.yaml --eval-only DATASETS.TEST '("vg150_test",)'

Exit status: 0, or 1 when nothing was written.
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", required=True, metavar="DIR", help="folder of the released model")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the new files")
    parser.add_argument(
        "--dataset", default="", metavar="NAME", help="dataset with the names of classes and predicates, to score on"
    )
    parser.add_argument(
        "--names",
        nargs="+",
        default=[],
        metavar="FILE",
        help="where there is no dataset: rel.json and train.json, VG-SGG-dicts.json or categories_dict.json",
    )
    parser.add_argument(
        "--allow-mismatch", action="store_true", help="go on where weights are unknown, missing or of another shape"
    )
    parser.add_argument(
        "--unsafe-pickle", action="store_true", help="read a file that may run any code; for files that you trust"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        done = convert_artifact(
            args.artifact,
            args.output,
            dataset=args.dataset,
            names_files=args.names,
            strict=not args.allow_mismatch,
            unsafe_pickle=args.unsafe_pickle,
        )
    except EGTRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = f"{len(done.class_names) or 'no'} names of classes, {len(done.predicate_names) or 'no'} of predicates"
    print(f"{done.source}: {done.num_tensors} tensors, {names}; written:")
    print(done.checkpoint, done.safetensors, done.config_file, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
