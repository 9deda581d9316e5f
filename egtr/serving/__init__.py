"""A small web application: drop an image, see its scene graph; and the same as an HTTP API.

- ``limits``    limits of a request, and the error of refused ones
- ``errors``    a refused request, with its HTTP status
- ``upload``    an image out of the body of a request
- ``models``    the models to choose from: checkpoints, loaded when they are first asked for, or any predictors
- ``worker``    the thread that they compute in
- ``security``  pages that may ask, and headers that restrict a browser
- ``schema``    the API in the words of OpenAPI
- ``answers``   its answers about an image
- ``app``       the routes
- ``server``    the application on a port, until it is told to end

The page in the folder ``page`` is put together from the code of :mod:`egtr.visualization.report`.
"""

from importlib.util import find_spec

from egtr.structures import ConfigurationError

if missing := [name for name in ("fastapi", "uvicorn", "python_multipart") if find_spec(name) is None]:
    raise ConfigurationError(
        f'egtr.serving needs {", ".join(missing)}; in a clone, install it by: pip install -e ".[web]"'
    )

from .app import create_app  # noqa: E402
from .limits import Limits  # noqa: E402
from .models import ModelStore  # noqa: E402
from .server import serve  # noqa: E402
from .worker import Worker  # noqa: E402

__all__ = ["Limits", "ModelStore", "Worker", "create_app", "serve"]
