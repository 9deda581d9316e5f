#!/usr/bin/env python3
"""Make the environment that EGTR runs in: what ``make setup`` does.

    python3 tools/setup/setup_env.py

This makes a virtual environment in ``.venv`` and installs the versions pinned in ``requirements.txt``, then
Detectron2 if it is missing, then EGTR itself (editable: the files of the clone are the ones that run). Finally it
imports cv2. A second run finds everything in place and takes a moment.

It needs Python 3.11 or newer, a network, and on Linux about 7 GB of disk (torch from the index is a CUDA
build; it runs on the CPU as well). To use an environment of your own instead, one with a compiled Detectron2
for example, do not run this script but, in that environment, ``python -m pip install -e ".[dev]"``.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This file must also parse on older Pythons: it tells their users what to do.
MINIMUM = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
PINS = ROOT / "requirements.txt"
# A change of one of these makes the next run install again.
DECIDING_FILES = [
    "requirements.txt",
    "setup.py",
    "tools/setup/install_detectron2.py",
    "tools/setup/setup_env.py",
]
OPENCV, OPENCV_HEADLESS = "opencv-python", "opencv-python-headless"


def say(text):
    print(f"setup: {text}", flush=True)


def check_python():
    """Stop with an explanation where the running Python is too old."""
    if sys.version_info >= MINIMUM:
        return
    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    remedy = (
        f"make setup PYTHON={newer[0]}   (or: {newer[0]} tools/setup/setup_env.py)"
        if newer
        else "install Python 3.11 or newer, then: make setup PYTHON=/path/to/it"
    )
    raise SystemExit(
        "setup: EGTR needs Python {}.{} or newer; {} is {}.{}.\n  Remedy: {}".format(
            *MINIMUM, sys.executable, *sys.version_info[:2], remedy
        )
    )


def python_of(venv):
    """Return the interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*command):
    """Run a command that shows its own progress; stop where it fails."""
    status = subprocess.run([str(part) for part in command], cwd=str(ROOT), check=False).returncode
    if status != 0:
        raise SystemExit(f"setup: this failed with status {status}:\n  {' '.join(map(str, command))}")


def make_venv(venv):
    """Make the virtual environment unless it is there."""
    if python_of(venv).exists():
        return
    say(f"making {venv} with Python {sys.version.split()[0]}")
    status = subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False).returncode
    if status != 0:
        # The next run would take a half-made folder for a whole one.
        shutil.rmtree(str(venv), ignore_errors=True)
        raise SystemExit(
            "setup: python -m venv failed (its message stands above).\n"
            "  Debian and Ubuntu keep it in a package of its own: apt-get install python3-venv"
        )


def fingerprint(venv):
    """Hash everything that decides what is installed."""
    digest = hashlib.sha256(f"{ROOT} {venv} {python_of(venv).resolve()}".encode())
    for name in DECIDING_FILES:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp(stamp):
    """Read the notes of the last complete run; an empty dict if there are none."""
    try:
        return json.loads(stamp.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def pip_install(python, *arguments):
    run(python, "-m", "pip", "--disable-pip-version-check", "install", *arguments)


def opencv_pin(package):
    """Give ``package`` the version of OpenCV in requirements.txt: the line ``package==version``."""
    for line in PINS.read_text("utf-8").splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        if name == OPENCV and version:
            return f"{package}=={version}"
    raise SystemExit(f"setup: {PINS}: there is no line {OPENCV}==VERSION. Add it.")


def install(python, opencv):
    """Install pins, Detectron2 and EGTR."""
    say("installing the versions pinned in requirements.txt (some minutes, the first time)")
    pins = PINS.read_text("utf-8").replace(opencv_pin(OPENCV), opencv_pin(opencv))
    with tempfile.TemporaryDirectory() as scratch:
        chosen = Path(scratch, "requirements.txt")
        chosen.write_text(pins, "utf-8")
        pip_install(python, "-r", chosen)
    run(python, ROOT / "tools/setup/install_detectron2.py")
    say("installing EGTR itself (editable)")
    pip_install(python, "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT)


def uninstall_opencv(python):
    """Remove every OpenCV: both packages own the folder cv2, so one must go before the other comes."""
    run(python, "-m", "pip", "--disable-pip-version-check", "uninstall", "--yes", OPENCV, OPENCV_HEADLESS)


def import_error_of_cv2(python):
    """Try ``import cv2``; return the last line of its error, or None if it works."""
    result = subprocess.run(
        [str(python), "-c", "import cv2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode == 0:
        return None
    lines = result.stdout.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {result.returncode}"


def check_cv2(python, opencv):
    """Import cv2; fall back to the headless build where that fails. Returns the package that works."""
    error = import_error_of_cv2(python)
    if error is None:
        return opencv
    say(f"`import cv2` fails: {error}")
    if opencv == OPENCV:
        say("Remedy on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0")
        say("Or take OpenCV without windows, enough for EGTR: make setup HEADLESS=1 (--opencv-headless)")
        say(f"Doing the latter now: {opencv_pin(OPENCV_HEADLESS)} takes the place of {OPENCV}.")
        uninstall_opencv(python)
        pip_install(python, opencv_pin(OPENCV_HEADLESS))
        error = import_error_of_cv2(python)
    if error is not None:
        raise SystemExit(f"setup: `import cv2` fails with {OPENCV_HEADLESS} as well: {error}")
    return OPENCV_HEADLESS


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--venv", default=".venv", metavar="DIR", help="where to make it (default: .venv)")
    parser.add_argument(
        "--opencv-headless",
        action="store_true",
        help="install opencv-python-headless, which needs no libGL and no glib, in place of opencv-python",
    )
    parser.add_argument("--force", action="store_true", help="install again although nothing has changed")
    return parser.parse_args(arguments)


def main(arguments=None):
    args = parse_arguments(arguments)
    check_python()
    start = time.time()
    # The path is not resolved: the folder may be a link to another disk.
    venv = Path(os.path.abspath(args.venv))
    python, stamp = python_of(venv), venv / "egtr-setup.json"
    make_venv(venv)

    done = read_stamp(stamp)
    # An earlier run may have had to fall back to the headless OpenCV. Then it is used from then on.
    headless = args.opencv_headless or done.get("opencv") == OPENCV_HEADLESS
    opencv = OPENCV_HEADLESS if headless else OPENCV
    if done == {"fingerprint": fingerprint(venv), "opencv": opencv} and not args.force:
        say(f"{venv} is up to date")
    else:
        if stamp.exists():
            stamp.unlink()
        if headless:
            uninstall_opencv(python)
        install(python, opencv)
    opencv = check_cv2(python, opencv)
    stamp.write_text(json.dumps({"fingerprint": fingerprint(venv), "opencv": opencv}) + "\n")
    say(f"ready after {time.time() - start:.0f} s: {python}")


if __name__ == "__main__":
    main()
