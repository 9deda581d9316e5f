#!/usr/bin/env python
"""Score saved predictions under every protocol, side by side: the command ``egtr compare``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
