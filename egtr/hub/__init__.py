"""From names to models: the places of configurations and weights.

- ``models``        models by name, fetched where they are not here; ``catalogue`` lists those that can be fetched,
                    ``installing`` converts them
- ``model_zoo``     the files that ship with the library
- ``download``      files from Google Drive, the Hugging Face Hub and plain addresses; ``archives`` unpacks them,
                    ``failures`` says what went wrong
- ``cache``         the folder of downloads, locks and hashes
- ``shared``        models that people share on the Hugging Face Hub; ``model_card`` describes one
- ``datasets``      published datasets by name; ``hub_dataset``, ``parquet`` and ``visual_genome`` fetch them
- ``path_handler``  ``egtr://`` paths for Detectron2
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["archives", "cache", "catalogue", "download", "datasets", "model_zoo", "models", "shared"],
    submod_attrs={
        "catalogue": ["read_catalogue"],
        "models": ["get_model", "read_info", "remove_model"],
    },
)
