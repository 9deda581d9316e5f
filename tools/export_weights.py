#!/usr/bin/env python
"""Turn a training checkpoint into a small file of weights: the command ``egtr export``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
