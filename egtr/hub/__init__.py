"""From names to models: the places of configurations and weights.

- ``model_zoo``     what ships with the library
- ``download``      files from Google Drive, the Hugging Face Hub and plain addresses; ``cache`` is where they lie
- ``path_handler``  ``egtr://`` paths for Detectron2
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["cache", "download", "model_zoo"],
)
