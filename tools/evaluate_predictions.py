#!/usr/bin/env python
"""Score saved predictions: the command ``egtr score``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
