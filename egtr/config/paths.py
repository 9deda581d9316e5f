"""Files that a configuration names, on the disk or elsewhere."""

import os

from detectron2.utils.file_io import PathManager

import egtr
from egtr.structures import ConfigurationError, EGTRError


def fetch(path: str, missing: str, error_type: type[EGTRError] = ConfigurationError) -> str:
    """Find the local file of any path that Detectron2's ``PathManager`` knows, and download it first if necessary.

    Args:
        path: a file name, ``https://...``, ``detectron2://...`` or ``egtr://...``.
        missing: the text of the error, after the path, if there is no such file.
        error_type: the kind of error to raise.

    Raises:
        EGTRError: of this kind: there is no such file, or it cannot be fetched.
    """
    egtr.register()
    try:
        # Not PathManager.isfile, which only answers for files on disk and egtr://.
        local = PathManager.get_local_path(path)
    except OSError as error:
        raise error_type(f"{path}: cannot be fetched ({error}). Check the address and the network") from error
    if not os.path.isfile(local):
        raise error_type(f"{path}: {missing}")
    return local
