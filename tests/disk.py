"""The old place of `largest_file`."""

from tests.running import largest_file  # noqa: F401
