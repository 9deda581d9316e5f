"""How long a fuzz test runs.

By default each tries the same few inputs in every run. With ``EGTR_FUZZ_MINUTES=10`` each
goes on for that time with inputs that nobody has tried before, and prints how many they were.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

# Hypothesis looks at some hundred inputs of a kind before it begins with others.
_EXAMPLES_PER_ROUND = 500


def fuzz(check: Callable[[Any], None], inputs: SearchStrategy, examples: int) -> None:
    """Call ``check`` on inputs until one makes it raise, which is then made as simple as it can be and shown.

    Args:
        check: raises where something is wrong.
        inputs: what to draw from.
        examples: how many by default.
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
