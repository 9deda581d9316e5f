"""OUTPUT_DIR at the start of a run: it can be written, no other run writes there, and no old run is mixed up."""

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode

from egtr.checkpoint.files import describe_write_error, is_full_disk, list_checkpoints
from egtr.structures import ConfigurationError, WriteError

logger = logging.getLogger(__name__)

LOCK = ".lock"
# Files of a run that a later one would continue from, add to or compare with.
_LEFT = ("model_*.pth", "last_checkpoint", "metrics.json", "events.out.tfevents.*")
# Descriptors of the open lock files of this process, by folder. They are kept until the run is released, or for good.
_held: dict[Path, int] = {}


def make_output_dir(cfg: CfgNode) -> None:
    """Make OUTPUT_DIR, and try to write there.

    Raises:
        WriteError: it cannot be made, or nothing can be written there.
    """
    folder = cfg.OUTPUT_DIR
    if not folder or "://" in folder:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WriteError(
            f"OUTPUT_DIR {folder}: cannot be made or written ({error.strerror}). Name another folder"
        ) from error


@contextlib.contextmanager
def explaining_full_disk(folder: str) -> Iterator[None]:
    """Say what to do if the disk of a run is full, or a file may not become larger.

    Args:
        folder: OUTPUT_DIR, for errors that name no file.

    Raises:
        WriteError: in place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise WriteError(
            f"{error.filename or folder}: cannot be written ({describe_write_error(error)}). "
            "Checkpoints are as they were: make room, then go on with --resume"
        ) from error


def claim_output_dir(cfg: CfgNode, *, resume: bool, overwrite: bool) -> None:
    """Take OUTPUT_DIR for a training run of this process, until :func:`release_output_dir` or the process ends.

    Args:
        resume: the run goes on with what is there.
        overwrite: what a former run has left there is deleted.

    Raises:
        ConfigurationError: another run is writing there, or a former run has left checkpoints there and neither
            ``resume`` nor ``overwrite`` is given, or both.
    """
    if resume and overwrite:
        raise ConfigurationError("--resume and --overwrite: give one of them, to go on with a run or to start over")
    if not cfg.OUTPUT_DIR or "://" in cfg.OUTPUT_DIR:
        return
    folder = Path(cfg.OUTPUT_DIR).resolve()
    if folder not in _held:
        _lock(folder)
    try:
        _check_former_run(cfg, folder, resume, overwrite)
    except ConfigurationError:
        release_output_dir(cfg)
        raise


def release_output_dir(cfg: CfgNode) -> None:
    """Let other runs write to OUTPUT_DIR."""
    lock = _held.pop(Path(cfg.OUTPUT_DIR).resolve(), None)
    if lock is not None:
        os.close(lock)


def _lock(folder: Path) -> None:
    try:
        import fcntl
    except ImportError:
        # Not on Windows.
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # Of this process only: workers, which may outlive it, do not inherit it. It goes with the process.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        holder = os.read(lock, 1000).decode(errors="replace").strip()
        os.close(lock)
        raise ConfigurationError(
            f"OUTPUT_DIR {folder}: another run is writing there{f' ({holder})' if holder else ''}. Wait for "
            "it or stop it, or name another folder"
        ) from error
    except OSError as error:
        os.close(lock)
        logger.warning("%s: cannot be locked (%s). See that no other run writes there", folder, error.strerror)
        return
    os.truncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _held[folder] = lock


def _check_former_run(cfg: CfgNode, folder: Path, resume: bool, overwrite: bool) -> None:
    if resume or not list_checkpoints(str(folder)):
        return
    if not overwrite:
        raise ConfigurationError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR}: a former run has left checkpoints there. Add --resume to go on with it, "
            "--overwrite to delete it and start over, or name another folder: OUTPUT_DIR FOLDER"
        )
    left = [path for pattern in _LEFT for path in folder.glob(pattern)]
    weights = Path(cfg.MODEL.WEIGHTS.partition("?")[0] or folder).resolve()
    if weights in left:
        raise ConfigurationError(
            f"--overwrite: MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} is in OUTPUT_DIR and would be deleted. Name another "
            "folder: OUTPUT_DIR FOLDER"
        )
    logger.info("--overwrite: %d files of a former run in %s are deleted", len(left), cfg.OUTPUT_DIR)
    for path in left:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
