"""Models that people share on the Hugging Face Hub: fetched by ``hf:USER/REPOSITORY``, and uploaded.

A shared model is a repository with the files of a folder that :meth:`egtr.EGTRPredictor.save_pretrained` writes:
``config.yaml``, ``model.safetensors``, ``model_info.json`` and ``README.md``. Other files are neither fetched nor
uploaded, so that no pickle arrives. A fetched model is a folder in ``shared`` of :func:`egtr.hub.cache.get_home`.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from egtr.structures.errors import ConfigurationError, DownloadError, WeightsError, WriteError
from egtr.structures.model_info import FILE_NAME, ModelInfo

from .cache import check_online, get_home, locked, remove_folder
from .download import download_repository
from .failures import find_reason

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FILES = (CONFIG, WEIGHTS, FILE_NAME, CARD)
PREFIX = "hf:"

_NAME = re.compile(r"(?:hf:)?([\w-][\w.-]*/[\w-][\w.-]*)")


def get_shared_model(
    name: str,
    *,
    revision: str | None = None,
    update: bool = False,
    cache_dir: str | os.PathLike | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Fetch a shared model, unless it is here.

    Args:
        name: ``hf:USER/REPOSITORY`` or ``USER/REPOSITORY``.
        revision: a branch, a tag or a commit; None: the newest state. Each revision has a folder of its own.
        update: fetch again what is here; otherwise the state that was fetched first stays.
        cache_dir: see :func:`get_shared_folder`.
        local_files_only: fetch nothing.
        token: see :func:`egtr.hub.download.download_repository`.

    Returns:
        The folder of the model, with ``config.yaml`` and ``model.safetensors``.

    Raises:
        ConfigurationError: the name is none of a repository.
        DownloadError: the repository cannot be fetched, or must not be.
        WeightsError: it holds no model of this library.
        WriteError: it cannot be written.
    """
    repository = parse_name(name)
    folder = get_shared_folder(repository, revision, cache_dir)
    with locked(folder):
        if (folder / CONFIG).is_file() and not update:
            return folder
        if local_files_only:
            raise DownloadError(
                f"{PREFIX}{repository}: would be fetched, but local_files_only forbids it. Leave it out"
            )
        arriving = _arriving(folder)
        download_repository(repository, arriving, revision=revision, patterns=FILES, token=token)
        try:
            check_shared_model(arriving, f"{PREFIX}{repository}")
        except WeightsError:
            remove_folder(arriving)
            raise
        remove_folder(folder)
        os.replace(arriving, folder)
    return folder


def read_shared_info(name: str) -> ModelInfo:
    """Return the record of a shared model; one that is not here is asked for it, without its weights.

    Raises:
        ConfigurationError, DownloadError: see :func:`get_shared_model`.
        WeightsError: the record is damaged.
    """
    folder = get_shared_folder(name)
    if not folder.is_dir():
        folder = _arriving(folder)
        download_repository(parse_name(name), folder, patterns=[FILE_NAME])
    path = folder / FILE_NAME
    return ModelInfo.load(path) if path.is_file() else ModelInfo()


def upload_model(
    folder: str | os.PathLike,
    name: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    commit_message: str = "Upload a model of egtr",
    create_pr: bool = False,
    delete_patterns: Sequence[str] | str | None = None,
) -> str:
    """Upload the folder of a model to the Hugging Face Hub, in one commit; the repository is made if necessary.

    Args:
        folder: a folder with the files of a shared model.
        name: ``USER/REPOSITORY``.
        private: whether a new repository is private; None: as the account is set.
        token: a token that may write; None: the one of ``hf auth login``, or HF_TOKEN.
        branch: the branch for the commit, made if necessary; None: main.
        commit_message: the message of the commit.
        create_pr: propose the commit in a pull request to main, for the owner of the repository to accept.
        delete_patterns: patterns of files of the repository that the commit deletes, such as ``"*.bin"``.

    Returns:
        The address of the repository, or of the pull request.

    Raises:
        ConfigurationError: the name is none of a repository, or ``create_pr`` is given with a branch.
        WeightsError: ``folder`` holds no model of this library.
        DownloadError: EGTR_OFFLINE is set.
        WriteError: the Hub cannot be reached, or refuses.
    """
    repository = parse_name(name)
    if create_pr and branch is not None:
        raise ConfigurationError(
            "branch and create_pr: the Hub takes pull requests for main only. Leave one of them out"
        )
    check_shared_model(Path(folder), str(folder))
    check_online(f"{PREFIX}{repository}")
    with _one_line(repository):
        from huggingface_hub import HfApi

        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
        address = api.create_repo(repository, private=private, exist_ok=True)
        if branch is not None:
            api.create_branch(repository, branch=branch, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
            allow_patterns=list(FILES),
            delete_patterns=delete_patterns,
        )
    return str(commit.pr_url or address)


def parse_name(name: str) -> str:
    """Return ``USER/REPOSITORY`` of a name with or without ``hf:``.

    Raises:
        ConfigurationError: the name is none of a repository.
    """
    found = _NAME.fullmatch(name)
    # The Hub allows no two hyphens or dots in a row.
    if found is None or "--" in name or ".." in name:
        raise ConfigurationError(f"{name}: is no model on the Hugging Face Hub. Write hf:USER/REPOSITORY")
    return found[1]


def get_shared_folder(name: str, revision: str | None = None, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of a shared model, whether it was fetched or not.

    Args:
        name, revision: see :func:`get_shared_model`.
        cache_dir: the folder of all shared models; None: ``shared`` of :func:`egtr.hub.cache.get_home`.
    """
    user, _, repository = parse_name(name).partition("/")
    at = "" if revision is None else f"@{quote(revision, safe='')}"
    base = get_home() / "shared" if cache_dir is None else Path(os.path.expanduser(cache_dir)).absolute()
    return base / f"{user}--{repository}{at}"


def _arriving(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.download")


def list_shared() -> list[str]:
    """List the shared models that were fetched, as ``hf:USER/REPOSITORY``, sorted; revisions are left out."""
    folders = (path.parent.name for path in (get_home() / "shared").glob(f"*/{CONFIG}"))
    return sorted(PREFIX + name.replace("--", "/", 1) for name in folders if "@" not in name and name[0] != ".")


def check_shared_model(folder: Path, where: str) -> None:
    """Check that a folder holds a model that can be shared: a configuration, and weights that it names.

    Args:
        folder: the folder.
        where: its name in the message.

    Raises:
        WeightsError: it does not.
    """
    import yaml

    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{where}: has no {' and no '.join(missing)}, so it is no model that egtr wrote. "
            "EGTRPredictor.save_pretrained writes such a folder; `egtr convert` reads models of other programs"
        )
    try:
        content = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
        weights = content["MODEL"]["WEIGHTS"]
    except (yaml.YAMLError, ValueError, RecursionError, KeyError, TypeError, OSError) as error:
        raise WeightsError(f"{where}: {CONFIG} is no configuration with MODEL.WEIGHTS ({error!r:.100})") from error
    if weights != WEIGHTS:
        raise WeightsError(
            f"{where}: MODEL.WEIGHTS in {CONFIG} is {weights!r}, but a shared model must name its own {WEIGHTS}. Ask "
            "its author to write it with save_pretrained"
        )


@contextlib.contextmanager
def _one_line(repository: str) -> Iterator[None]:
    """Turn what huggingface_hub raises inside the block into errors of one line."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalTokenNotFoundError

    where = f"{PREFIX}{repository}"
    login = "Log in with `hf auth login`, or give a token that may write there"
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise WriteError(f"{where}: cannot be uploaded, because no token is known. {login}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = login if status in (401, 403, 404) else "Try again later; what has arrived is not sent again"
        reason = " ".join((error.server_message or "").split())[:200]
        raise WriteError(
            f"{where}: cannot be uploaded: the Hub answers {status}{f' ({reason})' if reason else ''}. {remedy}"
        ) from error
    except HFValidationError as error:
        raise ConfigurationError(f"{where}: {' '.join(str(error).split()):.200}") from error
    # A large file that does not arrive is a RuntimeError.
    except (HTTPError, RuntimeError, ValueError, OSError) as error:
        raise WriteError(
            f"{where}: cannot be uploaded ({find_reason(error)}). Check the network and the rights of the token, and "
            "try again"
        ) from error
