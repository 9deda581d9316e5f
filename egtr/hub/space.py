"""Room on a disk, before a download begins."""

import shutil
from pathlib import Path

from egtr.structures.errors import WriteError


def check_space(folder: Path, needed: int) -> None:
    """Check that the disk of a folder has room.

    Args:
        folder: the folder; it need not exist.
        needed: bytes.

    Raises:
        WriteError: there is less room.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise WriteError(
            f"{folder}: {needed / 1e9:,.1f} GB are needed, but {free / 1e9:,.1f} GB are free. Make room, or name a "
            "folder on another disk"
        )
