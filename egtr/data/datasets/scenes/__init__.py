"""The embedded data set: cartoon scenes drawn by the project itself, in Visual Genome's layout, without a download."""

from egtr.data.datasets.scenes.generate import (
    GENERATOR_VERSION,
    SCENES_CLASSES,
    SCENES_PREDICATES,
    draw_scene,
    prepare_scenes,
)

__all__ = ["GENERATOR_VERSION", "SCENES_CLASSES", "SCENES_PREDICATES", "draw_scene", "prepare_scenes"]
