"""docs/api.md: each name exists, and its room offers it."""

import importlib
import re

import pytest

from tests.docs.commands import ROOT

TEXT = (ROOT / "docs/api.md").read_text("utf-8")
NAMES = re.findall(r"^::: ([\w.]+)$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_name(name):
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert found.__module__ == module, f"it is defined in {found.__module__}"
    assert found.__doc__


def test_no_name_twice():
    assert len(set(NAMES)) == len(NAMES) > 50
