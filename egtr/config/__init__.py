"""Configurations: every key with its meaning, and the way from a command line to a configuration.

- ``defaults``    every key that the library adds to Detectron2's
- ``keys``        the names of all keys, without torch
- ``loading``     one configuration from defaults, YAML file and ``KEY VALUE`` pairs
- ``arguments``   the arguments of command lines that say which configuration
- ``yaml_file``   YAML files and their ``_BASE_``
- ``exported``    names of models that have no configuration
- ``extensions``  code of a user, imported before a configuration names it
- ``paths``       files by path or address
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "arguments": [
            "DEFAULT_MODEL",
            "add_extension_argument",
            "add_model_arguments",
            "add_options_arguments",
            "add_training_arguments",
            "egtr_argument_parser",
        ],
        "defaults": ["add_egtr_config", "get_egtr_cfg"],
        "extensions": ["import_extensions"],
        "loading": [
            "fall_back_to_cpu",
            "find_config",
            "load_config",
            "read_config",
            "save_config",
            "without_pretrained",
        ],
    },
)
