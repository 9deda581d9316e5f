#!/usr/bin/env python
"""Draw the curves of a training run: the command ``egtr plot``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["plot", *sys.argv[1:]]))
