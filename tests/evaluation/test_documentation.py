"""docs/evaluation.md describes protocols and metrics as they are in the library."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.random_scenes import random_scene, random_training_counts
from egtr.evaluation import PROTOCOLS, Protocol, Scorer
from egtr.structures import GroundTruth

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def table_under(heading):
    """Rows of the first Markdown table of a section, its header first."""
    section = next(text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE) if text.startswith(heading + "\n"))
    (table, *_) = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    header, _, *rows = table.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *rows)]


def in_words(value):
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def test_the_table_of_protocols_is_the_code():
    conventions = [field.name for field in fields(Protocol) if field.name != "name"]
    rows = [[f"`{c}`", *(in_words(getattr(p, c)) for p in PROTOCOLS.values())] for c in conventions]
    headers = ["convention", *(f"`{name}`" for name in PROTOCOLS)]
    expected = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    assert table_under("Protocols") == [headers, *rows], f"put this into docs/evaluation.md:\n\n{expected}"


def test_every_metric_has_its_formula():
    rng = np.random.RandomState(0)
    prediction, truth = random_scene(rng, 10, 6, 5, 4, 6)
    # One object a query, as SGCls has it: only it has every metric.
    truth = GroundTruth(prediction.boxes, prediction.object_scores()[1], truth.triplets)
    scorer = Scorer(("reference", "sgbench"), (20,), training=random_training_counts(rng, 6, 5, 30), task="sgcls")
    results = scorer.summarize([scorer.score(prediction, truth)])
    # PRank needs predictions that stand for one object each.
    metrics = results["reference"] | results["sgbench"]
    names = {name.removeprefix("ng-").replace("@20", "@K") for name in metrics if not name.startswith("num_")}
    first_column = " ".join(row[0] for row in table_under("Metrics"))
    assert set(re.findall(r"`([^`]+)`", first_column)) == names
    assert all(f"`{name}`" in PAGE for name in metrics if name.startswith("num_"))
