#!/usr/bin/env python
"""Draw the scene graphs of images, of a video or of a camera: the command ``egtr demo``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
