"""Failures of the libraries that download, in one line each."""

import contextlib
import json
import re
from collections.abc import Iterator

from egtr.structures.errors import DownloadError, EGTRError, WriteError


@contextlib.contextmanager
def one_line(address: str) -> Iterator[None]:
    """Turn what libraries raise inside the block into errors of one line."""
    import requests
    from gdown.exceptions import DownloadError as Broken
    from gdown.exceptions import FileURLRetrievalError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    again = "The same command continues where it stopped"
    try:
        yield
    except EGTRError:
        raise
    except FileURLRetrievalError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.startswith("\t")]
        reason = " ".join(line for line in lines if line and not line.startswith("https://")) or str(error)
        number = address.removeprefix("gdrive:")
        raise DownloadError(
            f"{address}: Google Drive does not give the file: {' '.join(reason.split())} Try again tomorrow, or "
            f"fetch https://drive.google.com/uc?id={number} in a browser (`egtr models get NAME --file FILE`)"
        ) from error
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
        raise DownloadError(
            f"{address}: cannot be fetched ({find_reason(error)}). Check HTTPS_PROXY and the certificates "
            "(REQUESTS_CA_BUNDLE)"
        ) from error
    except requests.HTTPError as error:
        status = f"{error.response.status_code} {error.response.reason}"
        raise DownloadError(
            f"{address}: the server answers {status}. Check the address, or try again later"
        ) from error
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        raise DownloadError(f"{address}: is no address ({find_reason(error)}). Check how it is written") from error
    except (requests.RequestException, Broken) as error:
        raise DownloadError(
            f"{address}: cannot be fetched ({find_reason(error)}). Check the network. {again}"
        ) from error
    except HfHubHTTPError as error:
        status = f"{error.response.status_code} {error.response.reason_phrase}"
        said = " ".join((error.server_message or "").split())[:200]
        remedy = "Check the name and the network"
        if error.response.status_code in (401, 403):
            remedy = "Check the name. For a private model, or one with terms to accept, log in with `hf auth login`"
        raise DownloadError(
            f"{address}: cannot be fetched: the Hub answers {status}{f' ({said})' if said else ''}. {remedy}. {again}"
        ) from error
    except HTTPError as error:
        raise DownloadError(
            f"{address}: cannot be fetched ({find_reason(error)}). Check the name and the network"
        ) from error
    except OSError as error:
        # The Hub raises a FileNotFoundError without a number where it cannot be reached.
        if error.errno is None:
            raise DownloadError(
                f"{address}: cannot be fetched ({find_reason(error)}). Check the name and the network. {again}"
            ) from error
        place = error.filename or "the download folder"
        raise WriteError(f"{place}: cannot be written ({error.strerror}). Make room, or set EGTR_HOME") from error
    except HFValidationError as error:
        raise DownloadError(
            f"{address}: is no name of a repository ({find_reason(error)}). Write USER/REPOSITORY"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RuntimeError) as error:
        # The text of a login page in place of JSON; hf_xet, which fetches large files, raises RuntimeError.
        raise DownloadError(
            f"{address}: cannot be fetched ({find_reason(error)}). Check HF_ENDPOINT, and whether the network asks "
            f"you to log in. {again}"
        ) from error
    except ValueError as error:
        # A library refuses what it was asked for: the network has no part in this, and trying again does not help.
        raise DownloadError(
            f"{address}: cannot be fetched ({find_reason(error)}). Check how it is written"
        ) from error


def find_reason(error: BaseException) -> str:
    """Return in a few words why a connection failed: what the system said at the root of the errors."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    text = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
    text = re.sub(r"\s*For more information check: \S+", "", str(text))
    # Objects of Python, and the pool of connections that they are in.
    text = re.sub(r"<[^>]*object at 0x[0-9a-f]+>:?\s*|HTTPS?Connection(Pool)?\([^)]*\):\s*", "", str(text))
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
