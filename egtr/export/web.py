"""A static page that runs an exported model in the browser, with onnxruntime-web."""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from egtr.lite import LitePredictor
from egtr.structures import ConfigurationError, DownloadError
from egtr.structures.files import replacing, writing
from egtr.structures.scene_graph import LEAST_SCORE, SHARE_OF_BEST
from egtr.visualization.report.assets import (
    IMAGE_PAGE_SCRIPTS,
    IMAGE_PAGE_STYLES,
    assemble_page,
    image_page_body,
    read_asset,
    to_json,
)

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
_SPEC = f"{PACKAGE}@{VERSION}"
# SHA-512 of the package, as the npm registry states it.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# Seconds that npm may take for 33 MB.
PATIENCE = 600

WORKER_SCRIPTS = ("pixels.js", "ranking.js", "worker.js")
PAGE_SCRIPTS = ("ranking.js", "web.js")
# IoU above which objects are one, the default of SceneGraph.for_display.
MERGE_IOU = 0.7


@dataclass(frozen=True)
class Runtime:
    """The part of onnxruntime-web that a page needs.

    Attributes:
        script: the JavaScript module.
        wasm: the WebAssembly that it runs: SIMD, and threads where the page's headers allow them.
    """

    script: bytes
    wasm: bytes


def fetch_runtime(package: str | os.PathLike[str] | None = None) -> Runtime:
    """Fetch the pinned onnxruntime-web with npm, or read it from a file.

    Args:
        package: the package, a .tgz file as ``npm pack`` writes it; None: npm fetches it.

    Raises:
        ConfigurationError: npm is needed and missing.
        DownloadError: npm cannot fetch it; the file cannot be read, or is not the pinned package.
    """
    if package is not None:
        try:
            return _unpack(Path(package).read_bytes(), str(package))
        except OSError as error:
            raise DownloadError(
                f"{package}: cannot be read ({error.strerror}); give the file of npm pack {_SPEC}"
            ) from error
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError(
            f"npm is missing, which fetches {_SPEC}: install Node.js, or run npm pack {_SPEC} "
            "on another machine and give its file with --runtime FILE.tgz"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", _SPEC, "--ignore-scripts", "--silent", "--pack-destination", folder]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=folder)
        except subprocess.TimeoutExpired as error:
            raise DownloadError(f"{_SPEC}: npm did not fetch it within {PATIENCE} s; {_REMEDY}") from error
        found = list(Path(folder).glob("*.tgz"))
        if result.returncode or len(found) != 1:
            lines = [line for line in result.stderr.splitlines() if line.strip()] or [f"status {result.returncode}"]
            raise DownloadError(f"{_SPEC}: npm cannot fetch it ({lines[0].strip()}); {_REMEDY}")
        return _unpack(found[0].read_bytes(), f"{_SPEC} of npm")


_REMEDY = "try again, or give the file of the package with --runtime FILE.tgz"


def _unpack(content: bytes, where: str) -> Runtime:
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != INTEGRITY:
        raise DownloadError(
            f"{where}: is not {_SPEC} as it was published: its hash is {found}, not {INTEGRITY}. Fetch it "
            f"again with npm pack {_SPEC}"
        )
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        script = archive.extractfile("package/dist/ort.wasm.bundle.min.mjs").read()
        wasm = archive.extractfile("package/dist/ort-wasm-simd-threaded.wasm").read()
    # Browsers' developer tools would look for the map.
    return Runtime(script.replace(b"//# sourceMappingURL=ort.wasm.bundle.min.mjs.map", b""), wasm)


def export_web(model: str | os.PathLike[str], folder: str | os.PathLike[str], runtime: Runtime) -> int:
    """Write a folder that any static web server can show: a page, the model, and what runs it.

    Files that are there already are replaced, ``index.html`` last, once all new ones are on the disk.

    Args:
        model: a file of :func:`egtr.export.export_onnx`.
        folder: made if it does not exist.
        runtime: see :func:`fetch_runtime`.

    Returns:
        The size of all files in bytes.

    Raises:
        WeightsError: the model cannot be read.
        WriteError: a file cannot be written.
    """
    import onnxruntime

    predictor = LitePredictor(model)
    licences = Path(onnxruntime.__file__).parent
    content = {
        # First, since the stack below replaces files from the last one to the first.
        "index.html": build_page(predictor).encode(),
        "model.onnx": Path(model).read_bytes(),
        # A server may not know the type of .mjs.
        f"{PACKAGE}/ort.js": runtime.script,
        f"{PACKAGE}/ort.wasm": runtime.wasm,
        # The package for browsers comes without them; it is built from the same source as the one for Python.
        f"{PACKAGE}/LICENSE.txt": (licences / "LICENSE").read_bytes(),
        f"{PACKAGE}/ThirdPartyNotices.txt": (licences / "ThirdPartyNotices.txt").read_bytes(),
        "vis-network.LICENSE.txt": read_asset("vis-network.LICENSE.txt").encode(),
    }
    with writing(folder), ExitStack() as stack:
        for name, data in content.items():
            target = Path(folder, name)
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(replacing(target))
                file.write(data)
                file.flush()
    return sum(map(len, content.values()))


def build_page(predictor: LitePredictor) -> str:
    """Build the page, which reads ``model.onnx`` and onnxruntime-web beside it, and nothing else."""
    calibration = predictor.calibration
    record = {
        "info": predictor.info.to_dict(),
        "calibration": calibration and calibration.to_dict(),
        "object_score": predictor.object_score,
        "triplets_per_image": predictor.triplets_per_image,
        "limits": {
            "least_score": LEAST_SCORE,
            "share_of_best": SHARE_OF_BEST,
            "least_probability": calibration and calibration.least_probability,
            "object_threshold": predictor.object_threshold,
            "merge_iou": MERGE_IOU,
        },
        "weights": "model.onnx",
        "runtime": {
            "name": f"{PACKAGE} {VERSION}",
            "script": f"{PACKAGE}/ort.js",
            "wasm": f"{PACKAGE}/ort.wasm",
        },
    }
    body = image_page_body(
        privacy="It does not leave this device.",
        actions=read_asset("actions.html", __package__),
        vocabulary='<h3>Model</h3>\n<p id="about"></p>',
        footer=read_asset("footer.html", __package__),
    )
    upper, lower = assemble_page(
        body,
        "Scene graphs",
        [*map(read_asset, IMAGE_PAGE_STYLES), read_asset("web.css", __package__)],
        [*map(read_asset, IMAGE_PAGE_SCRIPTS), *(read_asset(name, __package__) for name in PAGE_SCRIPTS)],
        connect="'self'",
        run="'self' 'wasm-unsafe-eval' blob:",
    )
    worker = "\n".join(["'use strict';", *(read_asset(name, __package__) for name in WORKER_SCRIPTS)])
    data = {"model": record, "worker": worker}
    elements = [
        f'<script type="application/json" id="{name}">{to_json(value)}</script>' for name, value in data.items()
    ]
    return "\n".join([upper, *elements, lower])
