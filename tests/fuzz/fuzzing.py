"""The number of inputs of a fuzz test.

By default each test tries the same few inputs in every run. With ``EGTR_FUZZ_MINUTES=10`` each continues for that
time with new inputs, and prints their number.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

# Hypothesis tries some hundred inputs of a kind before it begins with others.
_EXAMPLES_PER_ROUND = 500


def fuzz(check: Callable[[Any], None], inputs: SearchStrategy, examples: int) -> None:
    """Call ``check`` on inputs; an input that makes it raise is simplified as far as possible and shown.

    Args:
        check: raises if something is wrong.
        inputs: the strategy that draws inputs.
        examples: the number of inputs by default.
    """

    def run(seed: int | None = None, **options: Any) -> None:
        patient = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
        test = settings(**patient, **options)(given(inputs)(check))
        (test if seed is None else hypothesis.seed(seed)(test))()

    minutes = float(os.environ.get("EGTR_FUZZ_MINUTES", "0"))
    if not minutes:
        run(max_examples=examples)
        return
    start, rounds = time.monotonic(), 0
    while time.monotonic() - start < 60 * minutes:
        seed = int.from_bytes(os.urandom(8))
        run(seed, max_examples=_EXAMPLES_PER_ROUND, derandomize=False, database=None)
        rounds += 1
    print(f"\n{rounds * _EXAMPLES_PER_ROUND:,} inputs in {(time.monotonic() - start) / 60:.1f} minutes")
