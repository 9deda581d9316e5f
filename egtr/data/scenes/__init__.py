"""The drawn dataset: cartoon scenes that the library draws itself, stored in EGTR's JSON layout."""

from .generate import (
    GENERATOR_VERSION,
    SCENES_CLASSES,
    SCENES_FAMILIES,
    SCENES_PREDICATES,
    draw_scene,
    prepare_scenes,
)

__all__ = [
    "GENERATOR_VERSION",
    "SCENES_CLASSES",
    "SCENES_FAMILIES",
    "SCENES_PREDICATES",
    "draw_scene",
    "prepare_scenes",
]
