"""From names to models: the places of configurations and weights.

- ``model_zoo``     what ships with the library
- ``path_handler``  ``egtr://`` paths for Detectron2
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["model_zoo"])
