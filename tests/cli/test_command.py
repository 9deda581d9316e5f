"""The command as a whole: help, versions and usage errors without torch, and one way to report errors."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egtr.cli import demo, main
from egtr.cli.command import COMMANDS
from egtr.structures import DataError
from egtr.structures.errors import MissingDetectron2Error
from egtr.version import __version__

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
HEAVY = ("torch", "detectron2", "cv2", "matplotlib", "numpy")
# Runs many command lines that end before any work, and says what they have imported.
MANY = f"""
import contextlib, io, sys
from egtr.cli import main
from egtr.cli.command import COMMANDS
lines = [[], ["--help"], ["--version"], ["nothing"], ["data"], ["data", "nothing"], ["demo"], ["plot"],
         ["demo", "a", "--confidence-threshold", "30"], ["export", "a"], ["convert"], ["sweep"], ["report"],
         ["explain", "--output", "o"], ["data", "check"], ["score", "p", "--json", "j"], ["compare"],
         ["data", "convert", "--from", "egtr", "--to", "egtr", "--output", "o"], ["serve", "--port", "x"],
         ["train"], ["evaluate"], ["train", "--resume"], ["train", "SEED"], ["evaluate", "SEED", "3"], ["serve", "x"],
         ["demo", "x.jpg", "MODEL.DEVICE"], ["explain", "x.jpg", "--output", "o", "SEED", "3", "SEED"],
         ["analyze", "model", "x", "y"], ["train", "--model", "scenes", "--opts", "SEED"]]
lines += [[*name.split(), word] for name in COMMANDS for word in ("--help", "--bogus")]
for line in lines:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main(line)
        except SystemExit as end:
            status = end.code
        else:
            status = "no end"
    wanted = 0 if line and line[-1] in ("--help", "--version") else 2
    assert status == wanted, (line, status, errors.getvalue())
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
# The same for what is missing, whose errors are those of the library, which imports numpy.
MISSING = f"""
import contextlib, io, sys
from egtr.cli import main
out = ["--output", "o"]
lines = [["demo", "x.jpg"], ["demo", "x/*.jpg"], ["explain", "x*.jpg", *out], ["report", "a.png", "x?", *out],
        ["demo", "x.jpg", "y.jpg", "--extension", "x.py"], ["demo", "--video-input", "x.mp4"],
         ["explain", "x.jpg", *out], ["report", "x.jpg", *out], ["report", "--predictions", "x", *out],
         ["export", "x.pth", *out], ["convert", "x", *out], ["convert", ".", "--names", "x", *out], ["sweep", "x"],
         ["plot", "x"], ["data", "check", "--format", "egtr", "--input", "x#train", "--image-root", "."],
         ["data", "convert", "train=x", "--from", "egtr", "--to", "egtr", *out]]
for line in (["demo", "a.png"], ["explain", "a.png", *out], ["report", "a.png", *out], ["serve"], ["evaluate"],
             ["train", "--model", "scenes"], ["analyze", "relations", *out], ["analyze", "model"]):
    lines.append([*line, "MODEL.EGTR.NUM_QUERxS", "3"])
    if line != ["analyze", "model"]:
        lines.append([*line, "SEED", "1", "MODEL.WEIGHTS", "x.pth"])
for option in ("--model", "--config-file"):
    lines += [[*line, option, "x"] for line in (
        ["demo", "a.png", "x.jpg"], ["demo", "--webcam"], ["explain", ".", *out], ["report", "*.png", *out],
        ["serve"], ["train"], ["evaluate"], ["analyze", "model"], ["analyze", "relations", *out])]
for line in lines:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        status = main(line)
    start = f"egtr {{' '.join(line[: 2 if line[0] in ('data', 'analyze') else 1])}}: error: "
    error = errors.getvalue()
    assert status == 1 and error.startswith(start) and error.count("\\n") == 1 and "x" in error, (line, status, error)
print(sorted(set({HEAVY[:-1]!r}) & set(sys.modules)))
"""


@pytest.mark.parametrize("script", [MANY, MISSING], ids=["usage", "missing"])
def test_help_versions_and_errors_of_arguments_import_nothing_heavy(script, tmp_path):
    (tmp_path / "a.png").touch()
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout + done.stderr


def test_python_m_egtr():
    command = [sys.executable, "-m", "egtr", "--version"]
    assert subprocess.check_output(command, env=ENVIRONMENT, text=True) == f"egtr {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match="0"):
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: egtr {name} ") and "example" in text
    # Every example is a command that is understood, but for the line of torchrun.
    assert f"egtr {name}" in text.partition("example")[2]


def test_help_of_the_whole(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    # A long name has its summary on the next line.
    listed = {line.split()[0] for line in text.splitlines() if line.startswith("    ") and line[4:5].isalpha()}
    assert {name.partition(" ")[0] for name in COMMANDS} <= listed
    assert 'eval "$(register-python-argcomplete egtr)"' in text


def run_and_raise(monkeypatch, error):
    def run(args):
        raise error

    monkeypatch.setattr(demo, "run", run)
    return main(["demo", "a.jpg"])


@pytest.mark.parametrize(
    "error",
    [DataError("a.jpg: is no image"), MissingDetectron2Error("a.jpg: is no image"), OSError("a.jpg: is no image")],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_one_line(error, monkeypatch, capsys):
    assert run_and_raise(monkeypatch, error) == 1
    assert capsys.readouterr() == ("", "egtr demo: error: a.jpg: is no image\n")


def test_errors_of_the_system_begin_with_the_file(monkeypatch, capsys):
    assert run_and_raise(monkeypatch, FileNotFoundError(2, "No such file or directory", "a.jpg")) == 1
    assert capsys.readouterr().err == "egtr demo: error: a.jpg: No such file or directory\n"


def test_a_broken_pipe_elsewhere_is_an_error(monkeypatch, capsys):
    """Such as that of a worker that reads images."""
    assert run_and_raise(monkeypatch, BrokenPipeError(32, "Broken pipe")) == 1
    assert capsys.readouterr().err == "egtr demo: error: [Errno 32] Broken pipe\n"


def test_ctrl_c(monkeypatch, capsys):
    assert run_and_raise(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


def test_other_errors_keep_their_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_and_raise(monkeypatch, ZeroDivisionError())
    assert logging.raiseExceptions


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_without_a_reader(unbuffered):
    """As in `egtr ... | head -1`: what is printed and what is logged afterwards goes nowhere, in silence."""
    code = """
import logging, sys, time
from egtr.cli import demo, main
def run(args):
    logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
    print("first", flush=True)
    sys.stdin.readline()
    logging.getLogger().error("second")
    print("third")
    return 0
demo.run = run
sys.exit(main(["demo", "a.jpg"]))
"""
    command = [sys.executable, "-c", code]
    environment = ENVIRONMENT | {"PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("egtr data c", {"check", "convert"}),
        ("egtr demo --webc", {"--webcam"}),
        ("egtr score --protocol mo", {"motifs"}),
    ],
)
def test_completion(line, expected, tmp_path):
    """As a shell asks for it, in a process of its own, since the answer ends the process."""
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    asked["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "words")
    subprocess.run([sys.executable, "-m", "egtr"], env=ENVIRONMENT | asked, check=True)
    assert {word.strip() for word in (tmp_path / "words").read_text().split("\n")} == expected
