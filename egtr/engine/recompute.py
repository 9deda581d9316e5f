"""Activation checkpointing."""

from torch import nn

from egtr.modeling.transformer.layer import PostNormLayer
from egtr.structures import ConfigurationError


def recompute_activations(model: nn.Module) -> None:
    """Make the transformer's layers of ``model`` (in place) keep only their inputs until the backward pass.

    Raises:
        ConfigurationError: no layer of the model supports it.
    """
    layers = [module for module in model.modules() if isinstance(module, PostNormLayer)]
    if not layers:
        raise ConfigurationError(
            "SOLVER.ACTIVATION_CHECKPOINTING is True, but no layer of the model supports it: a transformer of your "
            "own needs layers derived from egtr.modeling.transformer.layer.PostNormLayer"
        )
    for layer in layers:
        layer.recompute = True
