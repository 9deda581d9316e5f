"""The old place of :mod:`egtr.hub.model_zoo`, for one release."""

from . import _deprecated

_NAMES = (
    "DEFAULT_MODEL",
    "MODELS",
    "get_config_file",
    "get_weights_file",
    "list_configs",
    "list_models",
    "list_weights",
)
__getattr__ = _deprecated.moved(
    __name__,
    {
        "EGTRPathHandler": "egtr.hub.path_handler.EGTRPathHandler",
        **{name: f"egtr.hub.model_zoo.{name}" for name in _NAMES},
    },
)
