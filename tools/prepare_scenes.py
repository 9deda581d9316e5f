#!/usr/bin/env python
"""Draw the dataset `scenes`: the command ``egtr data prepare-scenes``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", "prepare-scenes", *sys.argv[1:]]))
