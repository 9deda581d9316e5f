"""The command ``python -m benchmarks``, run from the root of a clone."""

import os
import sys
from collections.abc import Sequence

from .command_line import parse_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark, or the soak test, and return its exit status."""
    args = parse_arguments(argv)
    if args.command == "evaluation":
        # NumPy's libraries read these when they are imported. Both contestants get one core.
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = "1"
    # Here, since it imports NumPy.
    from egtr.structures import EGTRError

    try:
        return args.run(args)
    except EGTRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
