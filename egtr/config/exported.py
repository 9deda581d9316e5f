"""Exported models, which carry what they need in one file and have no configuration."""

from egtr.structures import ConfigurationError

SUFFIXES = (".onnx", ".xml")


def is_exported(name: str) -> bool:
    """Tell by its name whether a file is an exported model."""
    return name.lower().endswith(SUFFIXES)


def refuse_exported(name: str) -> None:
    """Refuse an exported model where only a model in PyTorch will do.

    Raises:
        ConfigurationError: ``name`` is one.
    """
    if is_exported(name):
        raise ConfigurationError(
            f"{name}: is an exported model, which egtr demo, report and serve run, and egtr.lite.predict in Python. "
            "Everything else, explanations too, needs the model in PyTorch: name that one"
        )
