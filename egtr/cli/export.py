"""Turn a training checkpoint into a small file of weights, or a model into ONNX, OpenVINO or a page of the web."""

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from egtr.config.arguments import DEFAULT_MODEL, add_model_arguments

from .checks import check_file, use_model
from .choices import NETWORK_FORMATS, WEIGHTS_FORMATS
from .parsing import UsageError, add_inputs, get_input, get_inputs

if TYPE_CHECKING:
    from detectron2.config import CfgNode

# How the file of a network ends.
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
# Images for int8.
CALIBRATION = 100
EXAMPLES = """
A file of ONNX or OpenVINO holds the whole model of --model or --config-file, from the pixels to what triplets are
ranked by. It is compared with PyTorch on images of several sizes, and written only if the two agree. egtr.lite runs
it without torch.

A page (--format web) runs such a file in the browser, offline. npm fetches onnxruntime-web for it, once.

examples:
  %(prog)s --model scenes --format onnx --output scenes.onnx
  %(prog)s --model scenes --format openvino --output scenes.xml      (and scenes.bin)
  %(prog)s --model scenes --output scenes.xml --int8 --calibrate scenes_train
  %(prog)s --config-file my.yaml --output mine.onnx --size 640x640 MODEL.WEIGHTS output/run/model_best.pth
  %(prog)s --model scenes --format web --output site
  %(prog)s scenes.onnx --format web --output site --runtime onnxruntime-web-1.30.0.tgz
  %(prog)s output/run/model_best.pth --output mine.safetensors --half
  %(prog)s output/run/model_best.pth --format safetensors        (writes output/run/model_best.safetensors)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs(parser, "what training wrote (.pth, .safetensors); .onnx for a page", "FILE", aliases=["--checkpoint"])
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="ends in .safetensors, .pth, .onnx or .xml; a folder for web (default: beside the checkpoint)",
    )
    parser.add_argument(
        "--format",
        choices=(*WEIGHTS_FORMATS, *NETWORK_FORMATS, "web"),
        help="of the output (default: as its name ends)",
    )
    parser.add_argument("--half", action="store_true", help="store large weights as float16: half the size")
    parser.add_argument(
        "--size",
        type=image_size,
        default=None,
        metavar="dynamic|HxW",
        help="images of a file of ONNX or OpenVINO, pixels (dynamic)",
    )
    parser.add_argument("--int8", action="store_true", help="calculate in int8 where that suffices (openvino)")
    parser.add_argument(
        "--calibrate",
        metavar="DATASET",
        help=f"for --int8: a registered dataset or a folder; {CALIBRATION} of its images show which values occur",
    )
    parser.add_argument(
        "--runtime", metavar="FILE.tgz", help="onnxruntime-web for a page, as npm pack fetches it (npm is asked)"
    )
    add_model_arguments(parser)


def image_size(text: str) -> tuple[int, int] | None:
    """Read "dynamic", or a height and width such as 480x640."""
    if text == "dynamic":
        return None
    match = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: give dynamic, or height and width such as 480x640")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    if args.format is None and args.output:
        args.format = {suffix: name for name, suffix in SUFFIXES.items()}.get(args.output.suffix)
    if args.int8 != bool(args.calibrate) or (args.int8 and args.format != "openvino"):
        raise UsageError("--int8 and --calibrate belong together, and to --format openvino")
    if args.format == "web":
        return export_page(args)
    if args.runtime:
        raise UsageError("--runtime belongs to --format web")
    if args.format in NETWORK_FORMATS:
        for file in export_network(args):
            print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
        return 0
    if args.size or args.model or args.config_file or args.opts:
        raise UsageError(
            "--size, --model, --config-file and keys belong to --format onnx and openvino; weights need a checkpoint"
        )
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


def export_network(args: argparse.Namespace) -> list[Path]:
    """Export the model that the arguments name; return the files written.

    Raises:
        UsageError: arguments of weights are given, or no file to write.
        EGTRError: see :func:`egtr.export.export_onnx` and :func:`egtr.export.export_openvino`.
    """
    suffix = SUFFIXES[args.format]
    if args.output is None or args.output.suffix != suffix:
        raise UsageError(f"give --output FILE{suffix}")
    if get_inputs(args):
        raise UsageError(f"--format {args.format} takes --model or --config-file with MODEL.WEIGHTS, no checkpoint")
    use_model(args, DEFAULT_MODEL)

    from tabulate import tabulate

    from egtr.checkpoint import describe_model
    from egtr.config import import_extensions
    from egtr.export import export_onnx, export_openvino
    from egtr.inference import EGTRPredictor
    from egtr.structures import ModelInfo

    import_extensions(args.extension)
    predictor = EGTRPredictor.from_config_file(args.config_file, args.opts)
    info = (predictor.info or ModelInfo()).merged(describe_model(predictor.cfg))
    export = {"onnx": export_onnx, "openvino": export_openvino}[args.format]
    threshold = predictor.cfg.TEST.SCENE_GRAPH.OBJECT_THRESHOLD
    more = {"calibration": find_calibration(args.calibrate, predictor.cfg)} if args.int8 else {}
    differences = export(
        predictor.model, info, args.output, args.size, half=args.half, object_threshold=threshold, **more
    )
    kept, rounded = differences.pop("kept", None), differences.pop("int8", None)
    print(tabulate(differences.items(), ["output", "largest difference to PyTorch"], floatfmt=".1e"))
    if kept is not None:
        print(f"{rounded:.0%} of the layers are int8, which keeps {kept:.1%} of the best triplets of these images")
    return [args.output] + ([args.output.with_suffix(".bin")] if args.format == "openvino" else [])


def find_calibration(name: str, cfg: "CfgNode") -> list[str]:
    """List CALIBRATION images of a registered dataset or of a folder, evenly spread.

    Raises:
        DataError: there is no such dataset or folder, or it has no image.
    """
    from egtr.data.catalog import check_registered
    from egtr.data.datasets import read_dataset, register_rows
    from egtr.data.image import find_images

    register_rows(cfg.DATASETS.REGISTER)
    if Path(name).exists():
        files = find_images([name])
    else:
        check_registered(name)
        files = [record["file_name"] for record in read_dataset(name)[0]]
    count = min(CALIBRATION, len(files))
    return [files[index * len(files) // count] for index in range(count)]


def export_page(args: argparse.Namespace) -> int:
    """Write a page with the model that the arguments name, or with an ONNX file.

    Raises:
        UsageError: no folder is given; the input is no ONNX file, or stands beside the name of a model.
        EGTRError: see :mod:`egtr.export.web`.
    """
    if args.output is None or args.output.is_file():
        raise UsageError("give --output FOLDER")
    inputs = get_inputs(args)
    if inputs:
        if len(inputs) > 1 or not inputs[0].endswith(".onnx"):
            raise UsageError("--format web takes one .onnx file, or --model, or --config-file with MODEL.WEIGHTS")
        if args.half or args.size or args.model or args.config_file or args.opts:
            raise UsageError(f"{inputs[0]}: is exported already; leave out --half, --size, --model and keys")

    from egtr.export import export_web, fetch_runtime
    from egtr.structures.files import writing

    runtime = fetch_runtime(args.runtime)  # before the minutes of an export
    with tempfile.TemporaryDirectory() as folder:
        if inputs:
            model = Path(inputs[0])
        else:
            model = Path(folder, "model.onnx")
            with writing(args.output):
                args.output.mkdir(parents=True, exist_ok=True)
            export_network(argparse.Namespace(**vars(args) | {"output": model, "format": "onnx"}))
        size = export_web(model, args.output, runtime)
    print(f"{args.output}: {size / 1e6:.2f} MB. Look at it: python -m http.server --directory {args.output}")
    return 0
