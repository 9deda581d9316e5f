#!/usr/bin/env python
"""Count the parameters and the operations of a model: the command ``egtr analyze model``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["analyze", "model", *sys.argv[1:]]))
