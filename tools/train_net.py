#!/usr/bin/env python
"""Train or evaluate EGTR, or the detector that it starts from."""

import sys

import egtr.modeling  # noqa: F401 - registers the architecture
from egtr.config import egtr_argument_parser
from egtr.engine import launch, train_or_evaluate
from egtr.structures import EGTRError

if __name__ == "__main__":
    try:
        launch(train_or_evaluate, egtr_argument_parser(__doc__).parse_args())
    except EGTRError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
