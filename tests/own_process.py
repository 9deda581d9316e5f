"""Tests in a process of their own, for libraries that must not live in the process of all other tests.

A test with the marker ``own_process`` runs, with its fixtures, in a pytest of its own, whose reports become reports
here. If that process dies, one test has failed, and the run goes on.
"""

import ast
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import run_python

# Set for such a process: the file that its reports are written to, one a line. Taken away, so that processes which a
# test starts are not taken for one.
_VARIABLE = "EGTR_TEST_REPORTS"
_REPORTS = os.environ.pop(_VARIABLE, None)
# Both start threads and change settings of the processor, and neither can be unloaded.
KEPT_OUT = ("openvino", "nncf")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if _REPORTS is not None or item.get_closest_marker("own_process") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = run_in_own_process(item)
    # Fixtures of folders that were kept for this test may end now; there is no public way to say so.
    call = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown")
    if call.excinfo:
        reports.append(pytest.TestReport.from_item_and_call(item, call))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def run_in_own_process(item: pytest.Item) -> list[pytest.TestReport]:
    """Run a test in a process of its own; return its reports, and a failed one if the process does not end well."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "reports.txt")
        words = ["-m", "pytest", "-p", "no:cacheprovider", item.nodeid]
        # Options of all runs, such as `-n`, would hand the test to processes that do not report here.
        variables = {_VARIABLE: str(file), "PYTEST_ADDOPTS": ""}
        done = run_python(*words, cwd=item.config.rootpath, variables=variables)
        rows = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    load = item.config.hook.pytest_report_from_serializable
    reports = [load(config=item.config, data=ast.literal_eval(row)) for row in rows]
    # 1: the test has failed, which its report says.
    if done.returncode not in (0, 1) or not any(report.when == "teardown" for report in reports):
        text = f"its process ended with status {done.returncode}\n{done.stdout}\n{done.stderr}"
        reports.append(pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "teardown"))
    return reports


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if _REPORTS is not None:
        row = item.config.hook.pytest_report_to_serializable(config=item.config, report=report)
        with open(_REPORTS, "a", encoding="utf-8") as file:
            # Not JSON, which has no tuples.
            print(repr(row), file=file)
    return report


@pytest.fixture(autouse=True)
def keep_out() -> Iterator[None]:
    """A library of KEPT_OUT in the process of all tests is an error of the first test after which it is there."""
    yield
    loaded = [name for name in KEPT_OUT if sys.modules.get(name)]
    assert _REPORTS is not None or not loaded, f"{loaded} imported: mark this test with own_process"
