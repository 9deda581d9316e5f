"""metrics.json of a resumed run."""

import json
import logging
import os

logger = logging.getLogger(__name__)


def cut_metrics(path: str | os.PathLike, iteration: int) -> int:
    """Remove the lines of ``iteration`` and of later ones from ``path`` (metrics.json), and a line that is cut off.

    A killed run may have written lines for iterations after its last checkpoint; the resumed run writes them again.
    The file is shortened in place, so that a writer that has it open for appending continues at the new end.

    Returns:
        Number of bytes removed; 0 if there is no such file.
    """
    if not os.path.isfile(path):
        return 0
    end = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                # Lines are in the order of iterations, so everything after the first line to remove is removed, too.
                if not line.endswith(b"\n") or json.loads(line)["iteration"] >= iteration:
                    break
            except (ValueError, KeyError, TypeError):
                break
            end += len(line)
    removed = os.path.getsize(path) - end
    if removed:
        os.truncate(path, end)
        logger.info("%s: %d bytes from iteration %d on removed; this run writes them again", path, removed, iteration)
    return removed
