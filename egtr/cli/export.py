"""Turn a training checkpoint into a small file that holds only weights."""

import argparse
from pathlib import Path

from .checks import check_file
from .choices import WEIGHTS_FORMATS
from .parsing import UsageError, add_inputs, get_input

EXAMPLES = """
examples:
  %(prog)s output/run/model_best.pth --output mine.safetensors --half
  %(prog)s output/run/model_best.pth --format safetensors        (writes output/run/model_best.safetensors)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "what training wrote (.pth, .safetensors)", "FILE", aliases=["--checkpoint"])
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="ends in .safetensors or .pth (default: beside the checkpoint)"
    )
    parser.add_argument("--format", choices=WEIGHTS_FORMATS, help="of the output (default: as its name ends)")
    parser.add_argument("--half", action="store_true", help="store large weights as float16: half the size")


def run(args: argparse.Namespace) -> int:
    checkpoint = get_input(args, "checkpoint")
    output = choose_output(Path(checkpoint), args.output, args.format)
    check_file(checkpoint)

    from egtr.checkpoint import export_weights, load_checkpoint_file
    from egtr.structures import ModelInfo

    weights = load_checkpoint_file(checkpoint)["model"]
    size = export_weights(weights, output, half=args.half, info=ModelInfo.find(checkpoint))
    print(f"{output}: {size / 1e6:.2f} MB")
    return 0


def choose_output(checkpoint: Path, output: Path | None, format: str | None) -> Path:
    """Choose the file to write.

    Raises:
        UsageError: its name does not end as the format does; it is the checkpoint.
    """
    if output is None:
        if format is None:
            raise UsageError("give --output or --format")
        output = checkpoint.with_suffix(f".{format}")
    elif format is not None and output.suffix != f".{format}":
        raise UsageError(f"--output {output}: does not end in .{format}, as --format {format} asks")
    if output.resolve() == checkpoint.resolve():
        raise UsageError(f"{output}: is the checkpoint itself; name another file with --output")
    return output
