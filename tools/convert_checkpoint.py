#!/usr/bin/env python
"""Turn a released model into a model of this library: the command ``egtr convert``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
