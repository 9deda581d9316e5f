#!/usr/bin/env python
"""Train every setting of a sweep file with every seed, and compare them: the command ``egtr sweep``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
