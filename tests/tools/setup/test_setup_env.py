"""Decisions of the set-up script. What it runs is recorded instead of run."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "tools/setup/setup_env.py"
NO_LIBGL = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.fixture
def setup_env():
    spec = importlib.util.spec_from_file_location("setup_env", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(setup_env, monkeypatch):
    """Commands that set-up would have run, as strings. ``import cv2`` works."""
    recorded = []
    monkeypatch.setattr(setup_env, "run", lambda *command: recorded.append(" ".join(map(str, command))))
    monkeypatch.setattr(setup_env, "make_venv", lambda venv: venv.mkdir(exist_ok=True))
    monkeypatch.setattr(setup_env, "import_error_of_cv2", lambda python: None)
    return recorded


@pytest.mark.parametrize(
    "found, remedy", [("/usr/bin/python3.12", "PYTHON=python3.12"), (None, "PYTHON=/path/to/it")]
)
def test_old_python_is_told_what_to_do(setup_env, monkeypatch, found, remedy):
    monkeypatch.setattr(sys, "version_info", (3, 9, 6))
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: found if name == "python3.12" else None)
    with pytest.raises(SystemExit, match=f"(?s)needs Python 3.11 or newer; .* is 3.9.*{remedy}"):
        setup_env.check_python()


def test_installs_pins_then_detectron2_then_egtr_and_only_once(setup_env, commands, tmp_path, capsys):
    arguments = ["--venv", str(tmp_path / "venv")]
    setup_env.main(arguments)
    pins, detectron2, egtr = commands
    assert " install -r " in pins and "install_detectron2.py" in detectron2 and "--editable" in egtr
    commands.clear()
    setup_env.main(arguments)
    assert not commands and "is up to date" in capsys.readouterr().out
    setup_env.main([*arguments, "--force"])
    assert len(commands) == 3


def test_changed_pins_are_installed(setup_env, commands, tmp_path, monkeypatch):
    arguments = ["--venv", str(tmp_path / "venv")]
    for name in setup_env.DECIDING_FILES:
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((setup_env.ROOT / name).read_bytes())
    monkeypatch.setattr(setup_env, "ROOT", tmp_path / "clone")
    setup_env.main(arguments)
    with open(tmp_path / "clone/requirements.txt", "a") as file:
        file.write("another==1.0\n")
    commands.clear()
    setup_env.main(arguments)
    assert len(commands) == 3


def test_interrupted_set_up_is_not_taken_for_a_whole_one(setup_env, commands, tmp_path, monkeypatch):
    arguments = ["--venv", str(tmp_path / "venv")]
    setup_env.main(arguments)
    monkeypatch.setattr(setup_env, "install", lambda *_: sys.exit("no space left"))
    with pytest.raises(SystemExit):
        setup_env.main([*arguments, "--force"])
    with pytest.raises(SystemExit, match="no space left"):
        setup_env.main(arguments)


def test_headless_switch_replaces_the_pin(setup_env, commands, tmp_path, monkeypatch):
    seen = []

    def run(*command):
        if "-r" in command:
            seen.append(Path(command[-1]).read_text())

    monkeypatch.setattr(setup_env, "run", run)
    setup_env.main(["--venv", str(tmp_path / "one")])
    setup_env.main(["--venv", str(tmp_path / "two"), "--opencv-headless"])
    full, headless = seen
    version = setup_env.opencv_pin("opencv-python").partition("==")[2]
    assert f"\nopencv-python=={version}" in full and "\nopencv-python-headless==" not in full
    assert f"\nopencv-python-headless=={version}" in headless and "\nopencv-python==" not in headless


def test_falls_back_to_headless_where_cv2_does_not_import(setup_env, commands, tmp_path, monkeypatch, capsys):
    errors = iter([NO_LIBGL, None])
    monkeypatch.setattr(setup_env, "import_error_of_cv2", lambda python: next(errors))
    arguments = ["--venv", str(tmp_path / "venv")]
    setup_env.main(arguments)
    text = capsys.readouterr().out
    assert NO_LIBGL in text
    assert "apt-get install libgl1 libglib2.0-0" in text and "make setup HEADLESS=1" in text
    uninstall, install = commands[-2:]
    assert uninstall.endswith("uninstall --yes opencv-python opencv-python-headless")
    assert install.endswith("install " + setup_env.opencv_pin("opencv-python-headless"))
    # The next run accepts what the fallback settled.
    commands.clear()
    monkeypatch.setattr(setup_env, "import_error_of_cv2", lambda python: None)
    setup_env.main(arguments)
    assert not commands


def test_gives_up_where_headless_fails_too(setup_env, commands, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env, "import_error_of_cv2", lambda python: "ImportError: numpy")
    with pytest.raises(SystemExit, match="opencv-python-headless as well: ImportError: numpy"):
        setup_env.main(["--venv", str(tmp_path / "venv")])


def test_import_error_is_the_last_line_that_python_prints(setup_env, tmp_path):
    assert setup_env.import_error_of_cv2(sys.executable) is None
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\necho Traceback >&2\necho '{NO_LIBGL}' >&2\nexit 1\n")
    broken.chmod(0o755)
    assert setup_env.import_error_of_cv2(broken) == NO_LIBGL
