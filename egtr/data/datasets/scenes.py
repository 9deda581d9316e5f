"""The old place of :mod:`egtr.data.scenes`, for one release."""

from egtr import _deprecated

_NAMES = ("GENERATOR_VERSION", "SCENES_CLASSES", "SCENES_PREDICATES", "draw_scene", "prepare_scenes")
__getattr__ = _deprecated.moved(__name__, {name: f"egtr.data.scenes.{name}" for name in _NAMES})
