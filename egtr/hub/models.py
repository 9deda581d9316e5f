"""Models by name: those that ship, those that were fetched, and those of the catalogue, which are fetched on demand.

A fetched model is a folder ``models/<name>`` in :func:`egtr.hub.cache.get_home`: ``config.yaml``,
``model.safetensors``, ``model_info.json`` and ``source.json``, the files that it was made of.
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from egtr.structures.errors import ConfigurationError, DownloadError
from egtr.structures.model_info import ModelInfo

from .cache import check_hash, get_home, locked, remove_folder
from .catalogue import Entry, RemoteFile, read_catalogue
from .consent import ask
from .download import download, find_size
from .installing import install, rename
from .model_zoo import MODELS, get_config_file, list_configs
from .shared import CONFIG, PREFIX, WEIGHTS, get_shared_folder, get_shared_model, list_shared, read_shared_info


def find_model_config(name: str, *, fetch: bool = True) -> str:
    """Find the configuration that predicts with a model: what ``egtr://models/<name>`` stands for.

    Args:
        name: the name of a model that ships, was fetched or is in the catalogue, or of a configuration that ships; or
            ``hf:USER/REPOSITORY``, a model that somebody shares on the Hugging Face Hub.
        fetch: fetch a model of the catalogue that is not here, if the user agrees (see :func:`get_model`).

    Returns:
        The absolute path of an existing file.

    Raises:
        ConfigurationError: there is no such model; the message suggests similar names.
        EGTRError: see :func:`get_model`.
    """
    if name in MODELS or name in list_configs():
        return get_config_file(MODELS.get(name, name))
    is_shared = name.startswith(PREFIX)
    if (is_shared or _is_plain(name)) and (_folder(name) / CONFIG).is_file():
        return str(_folder(name) / CONFIG)
    if is_shared or name in read_catalogue():
        if fetch:
            return str(get_model(name) / CONFIG)
        raise ConfigurationError(f"{name}: is not here. `egtr models get {name}` fetches it")
    names = list_names()
    near = difflib.get_close_matches(name.lower(), [*names, *list_configs()], n=1, cutoff=0.75)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigurationError(
        f"{name}: is neither a file nor the name of a model.{hint} Models are: {', '.join(names)} (`egtr models`). "
        "egtr.hub.model_zoo.list_configs() lists configurations"
    )


def find_model_file(name: str, file: str) -> str:
    """Find a file of a fetched model: what ``egtr://models/<name>/<file>`` stands for.

    Raises:
        ConfigurationError: there is no such model or file.
    """
    if not (_is_plain(name) and _is_plain(file) and (_folder(name) / file).is_file()):
        raise ConfigurationError(
            f"egtr://models/{name}/{file}: is not here. `egtr models get {name}` fetches the model"
        )
    return str(_folder(name) / file)


def list_names() -> list[str]:
    """List the names of all models: those of the catalogue in its order, then further ones that were fetched."""
    names = list(read_catalogue())
    return [*names, *(name for name in list_fetched() if name not in names)]


def list_fetched() -> list[str]:
    """List the names of the fetched models: first the catalogue's, then shared ones, ``hf:USER/REPOSITORY``."""
    names = (path.parent.name for path in (get_home() / "models").glob(f"*/{CONFIG}"))
    return [*sorted(name for name in names if _is_plain(name)), *list_shared()]


def read_info(name: str) -> ModelInfo:
    """Return the record of a model: the one beside its weights, or what the catalogue knows before it is fetched.

    Raises:
        ConfigurationError: there is no such model.
        WeightsError: the record of a fetched model is damaged.
    """
    if name in list_fetched():
        return ModelInfo.find(_folder(name) / WEIGHTS) or ModelInfo(name=name)
    if name in read_catalogue():
        return read_catalogue()[name].info
    if name.startswith(PREFIX):
        return read_shared_info(name)
    find_model_config(name, fetch=False)
    raise ConfigurationError(f"{name}: is a configuration, not a model. Models are: {', '.join(list_names())}")


def find_place(name: str) -> tuple[str, str]:
    """Tell where a model is: "ships", "here" or "to be fetched"; and its size in MB as text, "" if it is not known.

    Args:
        name: one of :func:`list_names`.
    """
    if name in MODELS:
        return "ships", ""
    if name in list_fetched():
        size = sum(path.stat().st_size for path in _folder(name).iterdir())
        return "here", f"{size / 1e6:,.0f}"
    size = read_catalogue()[name].size if name in read_catalogue() else None
    return "to be fetched", "" if size is None else f"{size / 1e6:,.0f}"


def describe_source(name: str) -> dict[str, str]:
    """Describe where the files of a model come from, in lines by title; none for a model that ships."""
    entry = read_catalogue().get(name)
    if entry is None or entry.shipped:
        return {}
    known = [f"{file.sha256} (recorded by {file.sha256_by})" for file in entry.files if file.sha256]
    return {
        "from": ", ".join(f"{file.address} ({file.name})" for file in entry.files),
        "SHA-256": ", ".join(known) or "not known; recorded when the file first arrives",
        "folder": str(_folder(name)),
        "note": entry.note,
    }


def get_model(
    name: str,
    *,
    agreed: bool = False,
    names_files: Sequence[str | Path] = (),
    local_files: Sequence[str | Path] = (),
) -> Path:
    """Fetch a model of the catalogue, unless it is here: download, verify and convert it.

    Size, licence and origin are shown on standard error first, and the user is asked once. ``EGTR_YES=1`` answers in
    advance. Without a terminal that can be asked, nothing is fetched.

    Args:
        name: a name of :func:`egtr.hub.catalogue.read_catalogue`, or ``hf:USER/REPOSITORY``.
        agreed: the user has agreed already.
        names_files: files with the names of its classes and predicates, see :func:`egtr.checkpoint.read_names`.
            A model that is here gets them, too.
        local_files: its files, in the order of the catalogue, if you have fetched them in another way, such as in a
            browser. They are verified and converted as downloads are.

    Returns:
        The folder of the model.

    Raises:
        ConfigurationError: there is no such model, or it ships.
        DataError: a file of ``names_files`` has no names; nothing is fetched.
        DownloadError: the user has not agreed, or a file cannot be fetched or is not the one that is known.
        EGTRError: what has arrived cannot be converted; it stays in the download folder.
    """
    if name.startswith(PREFIX):
        if names_files or local_files:
            raise ConfigurationError(f"{name}: arrives as its author shares it; leave out --names and --file")
        return _get_shared(name, agreed)
    entry = _find_entry(name)
    if names_files:
        # It imports torch.
        from egtr.checkpoint import read_names

        # Before a long download.
        read_names(names_files)
    folder = _folder(name)
    with locked(folder):
        if (folder / CONFIG).is_file():
            if names_files:
                rename(folder, names_files)
            return folder
        paths = [get_home() / "downloads" / name / file.name for file in entry.files]
        if local_files:
            paths = _check_local(entry, local_files)
        else:
            if not all(path.is_file() for path in paths):
                _ask(entry, paths, agreed)
            for file, path in zip(entry.files, paths, strict=True):
                download(file.address, path, sha256=file.sha256, size=file.size)
        install(entry, paths, folder, names_files)
    if not local_files:
        remove_folder(paths[0].parent)
    return folder


def remove_model(name: str) -> int:
    """Delete a fetched model, and what was downloaded of one that did not arrive; recorded hashes stay.

    Returns:
        The bytes that became free.

    Raises:
        ConfigurationError: there is nothing of such a model here, or it ships.
    """
    if name in MODELS:
        raise ConfigurationError(f"{name}: comes with egtr and stays")
    folders = [path for path in (_folder(name), get_home() / "downloads" / name) if path.is_dir()]
    if not (_is_plain(name) or name in list_shared()) or not folders:
        raise ConfigurationError(
            f"{name}: nothing of it is here. Fetched models are: {', '.join(list_fetched()) or '(none)'}"
        )
    with locked(_folder(name)):
        freed = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
        for folder in folders:
            remove_folder(folder)
    return freed


def describe(entry: Entry, size: int | None) -> str:
    """Describe a model before it is fetched, in a few lines: what it knows, whence it comes, size and licence."""
    info = entry.info
    known = [f"{len(info.class_names)} classes" if info.class_names else ""]
    known += [f"{len(info.predicate_names)} predicates" if info.predicate_names else "", info.domain or ""]
    megabytes = "size not stated" if size is None else f"{size / 1e6:,.0f} MB"
    lines = [
        f"{entry.name}: {info.description} ({', '.join(filter(None, known))})",
        f"  from      {', '.join(file.address for file in entry.files)}: {megabytes}",
        f"  origin    {info.origin or 'not stated'}",
        f"  licence   {info.licence or 'not stated'}",
        f"  to        {_folder(entry.name)}",
    ]
    return "\n".join([*lines, f"  note      {entry.note}"] if entry.note else lines)


def _find_entry(name: str) -> Entry:
    if name in MODELS:
        raise ConfigurationError(f"{name}: comes with egtr, and need not be fetched")
    if name not in read_catalogue():
        find_model_config(name, fetch=False)
        raise ConfigurationError(f"{name}: is not in the catalogue, which has {', '.join(read_catalogue())}")
    return read_catalogue()[name]


def _get_shared(name: str, agreed: bool) -> Path:
    folder = _folder(name)
    if not (folder / CONFIG).is_file():
        _ask(Entry(name, read_shared_info(name), (RemoteFile(f"{name}/{WEIGHTS}", WEIGHTS),)), [folder], agreed)
    return get_shared_model(name)


def _ask(entry: Entry, paths: Sequence[Path], agreed: bool) -> None:
    def describe_with_size() -> str:
        sizes = [file.size or find_size(file.address, path) for file, path in zip(entry.files, paths, strict=True)]
        return describe(entry, None if None in sizes else sum(sizes))

    ask(entry.name, f"egtr models get {entry.name}", entry.info.licence, describe_with_size, agreed)


def _check_local(entry: Entry, local_files: Sequence[str | Path]) -> list[Path]:
    paths = [Path(path) for path in local_files]
    wanted = ", ".join(file.name for file in entry.files)
    if len(local_files) != len(entry.files):
        raise ConfigurationError(f"{entry.name}: is made of {wanted}, but {len(local_files)} files are given")
    for file, path in zip(entry.files, paths, strict=True):
        if not path.is_file():
            raise DownloadError(f"{path}: there is no such file. {entry.name} is made of {wanted}")
        check_hash(path, file.address, file.sha256)
    return paths


def _folder(name: str) -> Path:
    if name.startswith(PREFIX):
        return get_shared_folder(name)
    return get_home() / "models" / name


def _is_plain(name: str) -> bool:
    """Tell whether a name stays in its folder, and is none of the folders that appear while a model is made."""
    return name == os.path.basename(name) and not name.startswith(".") and bool(name)
