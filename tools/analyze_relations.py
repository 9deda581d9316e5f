#!/usr/bin/env python
"""Measure whether the decoder's self-attention encodes relations: the command ``egtr analyze relations``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["analyze", "relations", *sys.argv[1:]]))
