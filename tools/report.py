#!/usr/bin/env python
"""Write the scene graphs of many images as one interactive HTML page: the command ``egtr report``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
