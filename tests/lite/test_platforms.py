"""Nothing of egtr.lite and of what it needs depends on facts of POSIX: these processes have the facts of Windows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egtr.structures.files import replacing
from tests.lite.known_model import write_model
from tests.test_rooms import modules_of

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("egtr.structures", "egtr.config", "egtr.lite", "egtr.hub", "egtr.visualization", "egtr.serving", "egtr.cli")

# The standard library and numpy are imported first, since those of POSIX need what is then taken away.
WINDOWS = """
import asyncio, ctypes, importlib, logging, multiprocessing, os, pathlib, platform, select, selectors, shutil, signal
import socket, subprocess, sys, tempfile, warnings
import numpy
from importlib.util import find_spec
GONE = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
ABSENT = ("torch", "detectron2", "fvcore", "iopath")
for name in GONE + ABSENT:
    sys.modules[name] = None
for name in ("fork", "forkpty", "geteuid", "getuid", "killpg", "mkfifo", "setsid", "statvfs"):
    vars(os).pop(name, None)
for module, names in ((select, ["poll", "epoll", "kqueue"]), (signal, ["SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1"])):
    for name in names:
        vars(module).pop(name, None)
def refuse(*args, **kwargs):
    raise OSError(1314, "A required privilege is not held by the client")
os.symlink = os.link = refuse
open_file = os.open
def open_no_folder(path, *args, **kwargs):
    if os.path.isdir(path) or (str(path).startswith("/dev/") and path != os.devnull):
        raise PermissionError(13, "Permission denied", path)
    return open_file(path, *args, **kwargs)
os.open = open_no_folder
# A text file whose encoding the library does not name would be read in that of the machine, which is not UTF-8 there.
warnings.filterwarnings("error", category=EncodingWarning, module="egtr")
"""


def run(code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "warn_default_encoding", "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_every_module_can_be_imported(tmp_path):
    """A module is left out only if it needs a package that is not installed here."""
    names = sorted({name for room in ROOMS for name in modules_of(room)})
    code = f"""{WINDOWS}
imported = 0
for name in {names}:
    try:
        importlib.import_module(name)
        imported += 1
    except ModuleNotFoundError as error:
        missing = error.name.partition(".")[0]
        assert missing not in ("egtr", *GONE) and (missing in ABSENT or find_spec(missing) is None), name
    except ImportError as error:
        assert type(error).__name__ == "MissingDetectron2Error", name
print(imported)
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_graphs_as_lines_and_as_files(tmp_path):
    write_model(tmp_path / "m.onnx")
    Image.fromarray(np.full((50, 100, 3), 255, np.uint8)).save(tmp_path / "日本.png")
    words = ["demo", "日本.png", "--model", "m.onnx", "--format", "json"]
    code = f"{WINDOWS}\nfrom egtr.cli import main\nsys.exit(main({words}) or main({[*words, '--output', 'out']}))"
    # The encoding of a pipe in a western edition.
    done = run(code, tmp_path, PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    line, written, _ = done.stdout.splitlines()
    assert json.loads(line)["source"]["file_name"] == "日本.png" and json.loads(line)["relations"]
    assert written.replace("\\", "/").removeprefix("out/") == r"\u65e5\u672c.json".replace("\\", "/")
    assert json.loads((tmp_path / "out/日本.json").read_text("utf-8")) == json.loads(line)


def test_a_pipe_without_a_reader_ends_in_silence(tmp_path):
    """Where the system cannot tell which pipe has broken, it is the output."""
    code = f"""{WINDOWS}
from egtr.cli import demo, main
def run(args):
    raise BrokenPipeError(32, "Broken pipe")
demo.run = run
sys.exit(main(["demo", "a.jpg"]))
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


def test_files_are_replaced_although_folders_cannot_be_opened(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("egtr.structures.files.os.open", refuse)
    with replacing(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1


def test_other_errors_of_a_folder_are_no_matter_of_the_platform(tmp_path, monkeypatch):
    def fail(path, flags):
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr("egtr.structures.files.os.open", fail)
    with pytest.raises(OSError, match="Input/output error"), replacing(tmp_path / "file") as file:
        file.write(b"new")
