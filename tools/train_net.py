#!/usr/bin/env python
"""Train or evaluate EGTR, or the detector that it starts from: the command ``egtr train``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
