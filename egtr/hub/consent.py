"""The question before a download."""

import sys
from collections.abc import Callable

from egtr.structures.errors import DownloadError

from .cache import is_set


def ask(name: str, command: str, licence: str | None, describe: Callable[[], str], agreed: bool) -> None:
    """Describe on standard error what would be fetched, and ask the user once.

    ``EGTR_YES=1`` answers in advance. Without a terminal that can be asked, nothing is fetched.

    Args:
        name: the model or dataset.
        command: the command that fetches it.
        licence: its licence in words.
        describe: returns the description; it may ask servers for sizes.
        agreed: the user has agreed already.

    Raises:
        DownloadError: the user does not agree, or cannot be asked.
    """
    agreed = agreed or is_set("EGTR_YES")
    can_ask = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    if not agreed and not can_ask:
        raise DownloadError(
            f"{name}: is not here. `{command}` fetches it; --yes (or EGTR_YES=1) agrees in advance. Its licence: "
            f"{licence or 'not stated'}"
        )
    print(describe(), file=sys.stderr)
    if agreed:
        return
    print("Fetch it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise DownloadError(f"{name}: was not fetched, as you said")
