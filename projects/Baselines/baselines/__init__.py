"""Two other families of scene graph models on EGTR's detectors, as baselines: written from the papers.

    egtr train --config-file projects/Baselines/configs/scenes_relationformer.yaml \
        --extension projects/Baselines/baselines/__init__.py

``README.md`` in the folder above says how they differ from the published models.
"""

from .relationformer import Relationformer
from .reltr import RelTR

__all__ = ["RelTR", "Relationformer"]
