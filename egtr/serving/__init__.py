"""A small web application that shows the scene graph of an image, and the same as an HTTP API.

- ``limits``    limits of a request
- ``errors``    the error of a refused request, with its HTTP status
- ``upload``    reads an image from the body of a request
- ``models``    the models to choose from: checkpoints, loaded on first use, or any predictors
- ``remembered``  the images that models remember for corrections
- ``worker``    the thread in which models compute
- ``security``  decides which pages may send requests, and sets headers that restrict a browser
- ``protocol``  HEAD, and answers sent before the upload has ended
- ``schema``    the API as OpenAPI describes it
- ``answers``   the API's answers about an image
- ``app``       the routes
- ``server``    serves the application on a port, until it is told to stop

The page in the folder ``page`` uses the code of :mod:`egtr.visualization.report`.
"""

from importlib.util import find_spec

from egtr.structures import ConfigurationError

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
if missing := [package for module, package in _PACKAGES.items() if find_spec(module) is None]:
    raise ConfigurationError(f"egtr.serving needs {', '.join(missing)}: pip install {' '.join(missing)}")

from .app import create_app  # noqa: E402
from .limits import Limits  # noqa: E402
from .models import ModelStore  # noqa: E402
from .server import serve  # noqa: E402
from .worker import Worker  # noqa: E402

__all__ = ["Limits", "ModelStore", "Worker", "create_app", "serve"]
