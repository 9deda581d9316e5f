#!/usr/bin/env python3
"""Install a pure-Python Detectron2 into the Python that runs this script.

    python tools/setup/install_detectron2.py

A Detectron2 that is already there stays as it is unless ``--force`` is given. The script needs only the standard
library and pip.

Where the files come from
-------------------------
Detectron2's makers publish no release on the Python package index. A package of another author there,
``sal-detectron2 0.7.2``, carries the sources of Detectron2's main branch of 2024-04-17 (commit a59f0563)
together with a C++ extension that was compiled for one Python version on one platform. This script

1. downloads exactly that wheel and checks it against the SHA-256 below;
2. takes its Python files, its model-zoo configurations and its licence (Apache-2.0), and drops the compiled
   file;
3. applies the text changes listed in ``FIXES`` (NumPy 2, and the version string as Detectron2 itself has it);
4. writes a wheel named ``detectron2 0.6+main.20240417`` that fits every platform, and installs it with pip.

None of the downloaded package's own code runs on the way. Operators that exist only in C++
(``detectron2._C``: deformable convolution, rotated boxes, the fast COCO evaluation) are absent; EGTR uses
none of them. If you want them, or do not want to trust a third party's package, build Detectron2 from its own
repository: EGTR works with that just as well.
"""

import argparse
import base64
import csv
import hashlib
import importlib.metadata
import importlib.util
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SOURCE = "sal-detectron2==0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
VERSION = "0.6+main.20240417"
REQUIRES = [
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
    "black",
    "packaging",
    "setuptools<82",  # detectron2.model_zoo imports pkg_resources
]
# The wheel is tagged for one Python version, but its Python files serve all versions: so pip asks for that tag.
DOWNLOAD_OPTIONS = [
    "--no-deps",
    "--only-binary=:all:",
    "--python-version=3.10",
    "--implementation=cp",
    "--abi=none",
    "--platform=any",
]
# File to (text that must occur, text that replaces it).
FIXES = {
    "__init__.py": [('"0.7.2"', '"0.6"')],
    "layers/mask_ops.py": [("np.array(mask, copy=False)", "np.asarray(mask)")],
    "evaluation/sem_seg_evaluation.py": [
        ("np.array(Image.open(f), copy=copy, dtype=dtype)", "np.asarray(Image.open(f), dtype=dtype)")
    ],
}


def find_installed():
    """Describe the Detectron2 that this Python already has ("version, folder"), or return None."""
    spec = importlib.util.find_spec("detectron2")
    # A folder of that name without the package has no origin.
    if spec is None or spec.origin is None:
        return None
    try:
        version = importlib.metadata.version("detectron2")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown version"
    return f"{version}, {Path(spec.origin).parent}"


def pip(*arguments):
    """Run this Python's pip. Returns the exit status."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, check=False).returncode


def download(folder):
    """Fetch the pinned wheel by name into ``folder`` and return its path. pip checks the hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{SOURCE} --hash=sha256:{SHA256}\n", encoding="utf-8")
    status = pip("download", "--quiet", "--require-hashes", *DOWNLOAD_OPTIONS, "--dest", folder, "-r", requirements)
    wheels = list(folder.glob("*.whl"))
    if status != 0 or not wheels:
        raise SystemExit(
            f"install_detectron2: {SOURCE} could not be downloaded; pip's own message stands above.\n"
            "- 'No module named pip': run `python -m ensurepip` first.\n"
            "- The hashes do not match: the file offered is not the one that was tested. Do not use it.\n"
            "- No connection, or no matching distribution: check the network, the proxy (HTTPS_PROXY) and\n"
            "  `pip config list`. For a machine without a network, run on another one\n"
            f"    pip download {' '.join(DOWNLOAD_OPTIONS)} {SOURCE}\n"
            "  and give the file to this script: --archive FILE."
        )
    return wheels[0]


def check_archive(archive):
    """Refuse every file but the tested one."""
    if not archive.is_file():
        raise SystemExit(f"install_detectron2: {archive}: there is no such file. Check the path given to --archive.")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(
            f"install_detectron2: {archive}: its SHA-256 is\n  {digest}\n"
            f"but {SOURCE} as tested has\n  {SHA256}\n"
            "The download is damaged, or this is another file. Delete it and download it again."
        )


def repack(archive, folder):
    """Write the pure-Python wheel made out of ``archive`` into ``folder`` and return its path."""
    info = f"detectron2-{VERSION}.dist-info"
    content = {}
    with zipfile.ZipFile(archive) as source:
        for name in sorted(source.namelist()):
            if name.startswith("detectron2/") and name.endswith((".py", ".yaml")):
                content[name] = source.read(name)
            elif name.endswith("/LICENSE"):
                content[f"{info}/licenses/LICENSE"] = source.read(name)
    for name, fixes in FIXES.items():
        name = f"detectron2/{name}"
        for old, new in fixes:
            if old.encode() not in content.get(name, b""):
                raise SystemExit(f"install_detectron2: {archive}: {name} does not contain {old!r} as expected.")
            content[name] = content[name].replace(old.encode(), new.encode())
    content[f"{info}/METADATA"] = "\n".join(
        [
            "Metadata-Version: 2.1",
            "Name: detectron2",
            f"Version: {VERSION}",
            f"Summary: Detectron2 without its C++ extension, repacked from {SOURCE}",
            "License: Apache-2.0",
            "Requires-Python: >=3.8",
            *(f"Requires-Dist: {requirement}" for requirement in REQUIRES),
            "",
            "",
        ]
    ).encode()
    content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow([f"{info}/RECORD", "", ""])
    content[f"{info}/RECORD"] = record.getvalue().encode()

    wheel = folder / f"detectron2-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as target:
        for name, data in content.items():
            # A fixed date makes the wheel the same, byte for byte, whenever it is made.
            target.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return wheel


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--force", action="store_true", help="replace a Detectron2 that is already there")
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="use this downloaded wheel instead of the network (hash-checked)",
    )
    parser.add_argument(
        "--wheel-dir", type=Path, metavar="DIR", help="leave the repacked wheel in DIR and install nothing"
    )
    return parser.parse_args(arguments)


def main(arguments=None):
    args = parse_arguments(arguments)
    installed = find_installed()
    if installed and not args.force and not args.wheel_dir:
        print(f"install_detectron2: left alone what is there: detectron2 {installed} (--force replaces it)")
        return
    with tempfile.TemporaryDirectory() as scratch:
        downloaded, repacked = Path(scratch, "download"), Path(scratch, "wheel")
        downloaded.mkdir()
        repacked.mkdir()
        archive = args.archive or download(downloaded)
        check_archive(archive)
        if args.wheel_dir:
            args.wheel_dir.mkdir(parents=True, exist_ok=True)
            print(f"install_detectron2: wrote {repack(archive, args.wheel_dir)}")
            return
        # --force-reinstall concerns only this wheel: --no-deps keeps everything else as it is.
        if pip("install", "--no-deps", "--force-reinstall", repack(archive, repacked)) != 0:
            raise SystemExit(
                "install_detectron2: pip could not install the repacked wheel (its message stands above)."
            )


if __name__ == "__main__":
    main()
