"""docs/api.md: each name can be imported from where it says, and is documented."""

import importlib
import re

import pytest

from tests.docs.commands import ROOT

TEXT = (ROOT / "docs/api.md").read_text("utf-8")
NAMES = re.findall(r"^::: ([\w.]+)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_name(name):
    place, _, attribute = name.rpartition(".")
    assert getattr(importlib.import_module(place), attribute).__doc__


def test_no_name_twice():
    assert len(set(NAMES)) == len(NAMES) > 50
