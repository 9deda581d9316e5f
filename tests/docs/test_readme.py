"""README.md: its Python prints what stands below it, and its numbers are those of the pages that it names."""

import re

import pytest

from tests.docs.commands import ROOT, code_blocks, run_code

TEXT = (ROOT / "README.md").read_text("utf-8")
START, PLUGIN = code_blocks(TEXT, "python")


def test_the_first_lines_print_their_table():
    (printed,) = code_blocks(TEXT, "text")
    assert run_code(START).split() == printed.split()


def test_the_plugin_builds_a_model(monkeypatch):
    monkeypatch.chdir(ROOT)
    namespace = {}
    exec(PLUGIN, namespace)
    assert type(namespace["model"]).__name__ == "EGTR"


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 150


@pytest.mark.parametrize(
    ("text", "page", "row"),
    [
        # Shares of the formulas written out, to how many times faster or smaller.
        ("2.7x faster", "docs/performance.md", "inference in float32, time | 0.371"),
        ("4.7x in bfloat16", "docs/performance.md", "inference in bfloat16, time | 0.212"),
        ("6.0x less memory", "docs/performance.md", "inference, memory added | 0.166"),
        ("1.7x faster", "docs/performance.md", "training step, time | 0.583"),
        ("3.1x less memory", "docs/performance.md", "training step, memory added | 0.327"),
    ],
)
def test_shares_are_those_of_the_tables(text, page, row):
    assert text in TEXT
    assert row in (ROOT / page).read_text("utf-8")
    times, share = float(text.partition("x")[0]), float(row.rpartition(" ")[2])
    assert times == pytest.approx(1 / share, abs=0.05)
    # As the run printed it.
    assert re.search(rf"\| +{share:.3f} \|", (ROOT / "docs/measurements/performance.md").read_text("utf-8"))


def test_other_numbers_are_those_of_the_pages():
    for number in ("91.0", "87.3", "93.8", "78.9"):
        assert number in TEXT and number in (ROOT / "docs/training.md").read_text("utf-8")
    assert "156 of 156 faults" in TEXT
    assert "| **all** | 156 | 156 | 0 |" in (ROOT / "docs/measurements/reliability.md").read_text("utf-8")
