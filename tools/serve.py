#!/usr/bin/env python
"""Serve a web page and an HTTP API: the command ``egtr serve``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
