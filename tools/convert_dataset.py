#!/usr/bin/env python
"""Convert the annotations of a dataset from one format to another: the command ``egtr data convert``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", "convert", *sys.argv[1:]]))
