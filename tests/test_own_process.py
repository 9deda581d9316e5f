"""Tests with the marker own_process: what comes back from their processes, and what becomes of one that dies."""

import os
from pathlib import Path

from tests.running import run_python

CONFTEST = "from tests.own_process import keep_out, pytest_runtest_makereport, pytest_runtest_protocol"
TESTS = """
import os, sys, types
import pytest

@pytest.fixture
def library():
    sys.modules["openvino"] = types.ModuleType("openvino")

@pytest.mark.own_process
def test_elsewhere(library):
    assert os.environ["STARTED_IN"] != str(os.getpid())
    assert os.environ["PYTEST_ADDOPTS"] == ""

@pytest.mark.own_process
def test_wrong():
    assert "this" == "that"

@pytest.mark.own_process
def test_left_out():
    pytest.skip("no such machine")

def test_here():
    assert os.environ["STARTED_IN"] == str(os.getpid())

def test_imports_by_mistake(library):
    pass

@pytest.mark.own_process
def test_dies():
    os._exit(9)
"""
# In another folder, after the last test of the first one, which has a process of its own.
NEXT = """
import sys

def test_next():
    del sys.modules["openvino"]
"""
START = "import os, sys, pytest\nos.environ['STARTED_IN'] = str(os.getpid())\nsys.exit(pytest.main(sys.argv[1:]))"


def test_reports_come_back(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name, text in (("a/test_some.py", TESTS), ("b/test_next.py", NEXT)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = own_process: in a process of its own")
    root = Path(__file__).resolve().parents[1]
    words = ["-c", START, "-p", "no:cacheprovider"]
    done = run_python(*words, cwd=tmp_path, search=[root], variables={"PYTEST_ADDOPTS": "-rA"})
    lines = done.stdout.splitlines()
    for line in (
        "PASSED a/test_some.py::test_elsewhere",
        "FAILED a/test_some.py::test_wrong - AssertionError: assert 'this' == 'that'",
        "SKIPPED [1] a/test_some.py:20: no such machine",
        "PASSED a/test_some.py::test_here",
        "PASSED a/test_some.py::test_imports_by_mistake",
        "PASSED b/test_next.py::test_next",
    ):
        assert line in lines, done.stdout
    for text in (
        "its process ended with status 9",
        "ERROR a/test_some.py::test_dies",
        "ERROR a/test_some.py::test_imports_by_mistake",
        "AssertionError: ['openvino'] imported: mark this test with own_process",
    ):
        assert text in done.stdout
    assert done.returncode == 1
    assert "EGTR_TEST_REPORTS" not in os.environ
