#!/usr/bin/env python
"""Draw why the best relations of images are there: the command ``egtr explain``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["explain", *sys.argv[1:]]))
