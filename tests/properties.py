"""Property tests, with few examples in every run and with many among the slow tests."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    """Give a test its ``examples``: ``few``, and ``many`` where it is marked slow."""
    return pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.slow)])


def check(examples: int, holds: Callable[..., None], **strategies: Any) -> None:
    """Call ``holds``, which asserts something, with that number of examples that the strategies draw."""
    settings(max_examples=examples, deadline=None)(given(**strategies)(holds))()
