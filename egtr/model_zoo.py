"""The old place of :mod:`egtr.hub.model_zoo`, for one release."""

import warnings

from ._deprecated import REMOVED_IN
from .hub.model_zoo import (  # noqa: F401 - the old public names
    DEFAULT_MODEL,
    MODELS,
    get_config_file,
    get_weights_file,
    list_configs,
    list_models,
    list_weights,
)

warnings.warn(
    f"egtr.model_zoo is now egtr.hub.model_zoo; the old name goes in version {REMOVED_IN}",
    DeprecationWarning,
    stacklevel=2,
)
