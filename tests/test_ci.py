"""The steps of .ci/run, and that none of its processes outlives it; ``make`` is replaced."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci/run"
HAS_DOCS = "\ndocs:" in (ROOT / "Makefile").read_text()
STEPS = ["setup", "test", "test-slow", "lint", *(["docs"] if HAS_DOCS else []), "audit"]


@pytest.fixture
def start(tmp_path):
    """Starts .ci/run with a ``make`` made of a few lines of shell, and ends it after the test."""
    started = []

    def run(make, limit=600, path=None):
        (tmp_path / "bin").mkdir()
        (tmp_path / "scratch").mkdir()
        program = tmp_path / "bin/make"
        program.write_text(f'#!/bin/sh\necho "ran $1"\n{make}\n')
        program.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{path or os.environ['PATH']}",
            "PYTHON": sys.executable,
            "EGTR_CI_LIMIT": str(limit),
            "TMPDIR": str(tmp_path / "scratch"),
        }
        started.append(
            subprocess.Popen(
                ["bash", str(SCRIPT)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                # Tests that a shell runs in the background ignore Ctrl-C, and bash cannot trap what it ignores.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def steps(output):
    return [line.split()[1] for line in output.splitlines() if line.startswith("ran ")]


def test_steps_and_clean_end(start, tmp_path):
    process = start("true")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert steps(output) == STEPS
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("target", [step for step in STEPS if step not in ("setup", "audit")])
def test_a_failure_is_reported_and_the_rest_still_runs(start, target):
    process = start(f'[ "$1" != {target} ]')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert steps(output) == STEPS


def test_a_failed_audit_is_reported_and_fails_nothing(start):
    process = start('[ "$1" != audit ]')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.count("CI: no clean audit") == 1


def test_without_environment_nothing_else_runs(start):
    process = start("exit 3")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and steps(output) == ["setup"]


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture
def path_without_browser(tmp_path):
    """A folder of links to all programs of this machine but browsers and nginx; the user is root."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        for program in Path(directory).glob("*"):
            link = folder / program.name
            if program.name not in (*BROWSERS, "apt-get", "id", "nginx") and not link.is_symlink():
                link.symlink_to(program)
    write_program(folder / "id", "echo 0")
    return folder


def write_program(path, lines):
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="apt-get and its places are Linux's")
@pytest.mark.parametrize(
    ("apt_get", "says"),
    [
        (
            "case \"$*\" in *install*chromium*) printf '#!/bin/sh' > {0}/chromium; chmod +x {0}/chromium;; esac",
            "in {0}/",
        ),
        ("exit 100", "tests of pages are skipped"),
    ],
)
def test_a_browser_is_installed_where_that_works(start, path_without_browser, apt_get, says):
    write_program(path_without_browser / "apt-get", apt_get.format(path_without_browser))
    process = start("true", path=path_without_browser)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert says.format(path_without_browser) in output
    assert steps(output) == STEPS


# A child of make, whose number is written to a file; make waits for it.
LINGER = 'sleep 300 &\necho $! > "{file}.part"\nmv "{file}.part" "{file}"\nwait'


def is_alive(number):
    # A zombie that has not been collected yet has ended.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False)
    return state.stdout.strip() not in ("",) and not state.stdout.strip().startswith("Z")


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_everything(start, tmp_path, number, status):
    file = tmp_path / "number"
    process = start(LINGER.format(file=file))
    wait_until(file.exists)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    wait_until(lambda: not is_alive(int(file.read_text())))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_out_of_time(start, tmp_path):
    file = tmp_path / "number"
    process = start(LINGER.format(file=file), limit=3)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 124 and "out of time in: make setup" in output
    wait_until(lambda: not is_alive(int(file.read_text())))
