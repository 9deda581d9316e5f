#!/usr/bin/env python
"""Look through a dataset before training on it: the command ``egtr data check``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", "check", *sys.argv[1:]]))
