"""``python -m egtr``: the command ``egtr``."""

import sys

from egtr.cli import main

if __name__ == "__main__":
    sys.exit(main())
