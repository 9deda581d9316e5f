"""From downloaded files of a released model to a folder that the library loads."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from egtr.structures.errors import DownloadError, EGTRError
from egtr.structures.files import write_text
from egtr.structures.model_info import FILE_NAME, ModelInfo

from .archives import ARCHIVE_SUFFIXES, find_model, is_archive, unpack
from .cache import forget_hash, get_home, hash_file, remove_folder
from .catalogue import Entry
from .shared import CONFIG, WEIGHTS

logger = logging.getLogger(__name__)

SOURCE = "source.json"


def install(entry: Entry, paths: Sequence[Path], folder: Path, names_files: Sequence[str | Path]) -> None:
    """Convert downloaded files into ``folder``, which appears when everything is in it."""
    # They import torch.
    from egtr.checkpoint import convert_artifact
    from egtr.config import load_config

    unpacked, staged = (folder.with_name(f".{entry.name}.{kind}") for kind in ("unpacked", "staged"))
    for left in (unpacked, staged):
        # Of a process that was killed.
        remove_folder(left)
    try:
        _unpack_all(entry, paths, unpacked)
        if unpacked.is_dir():
            source = find_model(unpacked)
        else:
            source = paths[0] if len(paths) == 1 else paths[0].parent
        # The configuration decides about the names.
        info = replace(entry.info, class_names=None, predicate_names=None)
        done = convert_artifact(source, staged, names_files=names_files or entry.names, info=info)
        # The library finds the folder again wherever it is.
        done.checkpoint.unlink()
        cfg = load_config(str(done.config_file))
        cfg.MODEL.WEIGHTS = f"egtr://models/{entry.name}/{WEIGHTS}"
        cfg.OUTPUT_DIR = f"output/{entry.name}"
        write_text(done.config_file, cfg.dump())
        record = [
            {"address": file.address, "name": file.name, "size": path.stat().st_size, "sha256": hash_file(path)}
            for file, path in zip(entry.files, paths, strict=True)
        ]
        write_text(staged / SOURCE, f"{json.dumps(record, indent=1)}\n")
        remove_folder(folder)
        os.replace(staged, folder)
    except EGTRError as error:
        for file in entry.files:
            if not file.sha256:
                # A hash that was recorded at its first arrival would refuse the sound file.
                forget_hash(file.address)
        kept = ", ".join(str(path) for path in paths if path.is_file())
        here = all(path.is_relative_to(get_home()) for path in paths)
        delete = f" (`egtr models remove {entry.name}` deletes it)" if here else ""
        raise type(error)(f"{error}. What was fetched stays: {kept}{delete}" if kept else str(error)) from error
    finally:
        for left in (unpacked, staged):
            remove_folder(left)


def rename(folder: Path, names_files: Sequence[str | Path]) -> None:
    """Give a fetched model other names."""
    from egtr.checkpoint import describe_model, export_weights, load_checkpoint_file, set_names
    from egtr.config import load_config

    cfg = load_config(str(folder / CONFIG))
    set_names(cfg, names_files)
    info = (ModelInfo.find(folder / WEIGHTS) or ModelInfo()).merged(describe_model(cfg))
    weights = load_checkpoint_file(str(folder / WEIGHTS))["model"]
    staged = folder / f"new.{WEIGHTS}"
    export_weights(weights, staged, info=info)
    os.replace(staged, folder / WEIGHTS)
    info.save(folder / FILE_NAME)
    write_text(folder / CONFIG, cfg.dump())


def _unpack_all(entry: Entry, paths: Sequence[Path], folder: Path) -> None:
    for file, path in zip(entry.files, paths, strict=True):
        named_archive = file.name.lower().endswith(ARCHIVE_SUFFIXES)
        if named_archive or is_archive(path):
            logger.info("%s: unpacking %s", entry.name, path)
            try:
                if not is_archive(path):
                    raise DownloadError(f"{path}: is no zip or tar archive, although {file.name} is. Fetch it again")
                unpack(path, folder)
            except DownloadError:
                if path.is_relative_to(get_home()):
                    path.unlink()
                raise
