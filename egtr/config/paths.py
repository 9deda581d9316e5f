"""Files that a configuration names, wherever they are."""

import os

from detectron2.utils.file_io import PathManager

from egtr.structures import EGTRError


def fetch(path: str, missing: str) -> str:
    """The local file behind any path that Detectron2's ``PathManager`` knows, downloaded first where need be.

    Args:
        path: a file name, ``https://...``, ``detectron2://...`` or ``egtr://...``.
        missing: what the error says, behind the path, where there is no such file.

    Raises:
        EGTRError: there is no such file, or it cannot be fetched.
    """
    try:
        # Asking PathManager.isfile first would not do: it answers for files on disk and egtr:// alone.
        local = PathManager.get_local_path(path)
    except OSError as error:
        raise EGTRError(f"{path}: cannot be fetched ({error}). Check the address and the network") from error
    if not os.path.isfile(local):
        raise EGTRError(f"{path}: {missing}")
    return local
