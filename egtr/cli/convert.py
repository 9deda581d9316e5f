"""Turn a released EGTR, FROSS or detector, or one of Hugging Face, into a model of this library."""

import argparse

from .checks import check_file, check_names
from .parsing import add_inputs, get_input

EXAMPLES = """
The input is a folder with config.json and
  checkpoints/epoch=*.ckpt                  of the released code of EGTR or FROSS; the highest epoch is taken
  model.safetensors or pytorch_model.bin    Hugging Face: a Deformable DETR on a timm backbone, RT-DETR or RT-DETRv2
or a .pth file of RT-DETR's authors.
`egtr models` lists released models that can be fetched by name, already converted.

--output receives model.pth, model.safetensors, config.yaml and model_info.json, for
  egtr demo photo.jpg --model OUTPUT/config.yaml --output graphs
  egtr evaluate --config-file OUTPUT/config.yaml DATASETS.TEST vg150_test

examples:
  %(prog)s downloads/egtr_vg --output output/released --dataset vg150_test
  %(prog)s downloads/egtr_vg --output output/released --names vg150

Exit status: 0, or 1 when nothing was written.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "folder or file of the released model", "PATH", aliases=["--artifact"])
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the new files")
    parser.add_argument(
        "--dataset", default="", metavar="NAME", help="dataset with the names of classes and predicates, to score on"
    )
    parser.add_argument(
        "--names",
        nargs="+",
        default=[],
        metavar="FILE|LIST",
        help="the names, else: vg150 or coco, which come with egtr, or files: rel.json and train.json, "
        "VG-SGG-dicts.json, categories_dict.json, psg.json or a JSON of coco_sg",
    )
    parser.add_argument(
        "--allow-mismatch", action="store_true", help="continue if weights are unknown, missing or of another shape"
    )
    parser.add_argument(
        "--unsafe-pickle",
        action="store_true",
        help="also read files that can run any code; only for files that you trust",
    )


def run(args: argparse.Namespace) -> int:
    artifact = get_input(args, "folder or file of a released model")
    check_file(artifact)
    check_names(args.names)

    from egtr.checkpoint import convert_artifact

    done = convert_artifact(
        artifact,
        args.output,
        dataset=args.dataset,
        names_files=args.names,
        strict=not args.allow_mismatch,
        unsafe_pickle=args.unsafe_pickle,
    )
    names = f"{len(done.class_names) or 'no'} names of classes, {len(done.predicate_names) or 'no'} of predicates"
    print(f"{done.source}: {done.num_tensors} tensors, {names}; written:")
    print(done.checkpoint, done.safetensors, done.config_file, done.info_file, sep="\n")
    return 0
