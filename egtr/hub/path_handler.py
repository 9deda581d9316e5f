"""``egtr://`` paths, which work wherever Detectron2 takes a path.

Importing this module is light; :func:`register_path_handler`, which :func:`egtr.register` calls, needs Detectron2.
"""

from typing import Any

from iopath.common.file_io import PathHandler

from egtr.structures.errors import ConfigurationError, EGTRError, WriteError

from .model_zoo import FOLDERS, get_config_file, get_weights_file, list_configs, list_weights
from .models import find_model_config, find_model_file, list_fetched, list_names


class EGTRPathHandler(PathHandler):
    """Reads ``egtr://configs/<name>``, ``egtr://weights/<file>`` and ``egtr://models/<name>``; it writes nothing.

    The last one is the configuration of a model, which is fetched if it is in the catalogue and the user agrees;
    ``egtr://models/<name>/<file>`` is a file of a fetched model.

    A name may contain ``..`` as long as it stays among the files of EGTR, because the ``_BASE_`` of a YAML file is
    joined to the name of this file.
    """

    PREFIX = "egtr://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        return self._find(path, fetch=True)

    def _find(self, path: str, fetch: bool) -> str:
        kind, _, name = path[len(self.PREFIX) :].partition("/")
        if kind == "configs":
            return get_config_file(name)
        if kind == "weights":
            return get_weights_file(name)
        if kind == "models":
            model, _, file = name.partition("/")
            return (
                find_model_file(model, file)
                if model in list_fetched() and file
                else find_model_config(name, fetch=fetch)
            )
        raise ConfigurationError(
            f"{path}: what follows egtr:// must be configs/<name>, weights/<file> or models/<name>, not {kind!r}."
        )

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any):
        if set(mode) & set("wax+"):
            raise WriteError(f"{path}: mode {mode!r}, but egtr:// paths are read-only. Write to an ordinary path.")
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        self._check_kwargs(kwargs)
        try:
            self._find(path, fetch=False)
        except EGTRError:
            return False
        return True

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return self._isfile(path, **kwargs)

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        self._check_kwargs(kwargs)
        return path[len(self.PREFIX) :].rstrip("/") in (*FOLDERS, "models")

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        self._check_kwargs(kwargs)
        lists = {"configs": list_configs, "weights": list_weights, "models": list_names}
        kind = path[len(self.PREFIX) :].rstrip("/")
        if kind not in lists:
            raise ConfigurationError(f"{path}: only egtr://configs, egtr://weights and egtr://models can be listed.")
        return lists[kind]()


def register_path_handler() -> None:
    """Register the handler with Detectron2's ``PathManager``; calling it again changes nothing."""
    # Here, since it imports torch.
    from detectron2.utils.file_io import PathManager

    PathManager.register_handler(EGTRPathHandler(), allow_override=True)
