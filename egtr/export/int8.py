"""Quantisation to int8 by NNCF, for OpenVINO."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from egtr.structures import ConfigurationError

if TYPE_CHECKING:
    import openvino


def quantize(model: "openvino.Model", images: Sequence[np.ndarray], step: int = 0) -> "openvino.Model":
    """Convert the weights and activations of an exported network to int8.

    The relation part stays in float: it is small, its frequency bias has large values where a predicate was never
    seen, and its scores decide about the order of triplets. Depthwise convolutions stay in float, too: they cost
    little, and in int8 OpenVINO 2026.4 ends with a segmentation fault at some image sizes.

    Args:
        model: the network, see :class:`egtr.export.network.ExportedNetwork`; it is changed.
        images: images for the network, (1, 3, H, W) float32 each, that show which values occur.
        step: index of IN_FLOAT: what else stays in float.

    Raises:
        ConfigurationError: nncf is missing; there is no image.
    """
    if not images:
        raise ConfigurationError("int8 needs images to calibrate with, and there is none")
    with _without_statistics():
        try:
            import nncf
        except ImportError as error:
            raise ConfigurationError(f"{error.name} is missing: pip install nncf") from error
    nncf.set_log_level("ERROR")
    names = {*relation_part(model), *IN_FLOAT[step](model)}
    _fold_weights(model, names)
    return nncf.quantize(
        model,
        nncf.Dataset(images),
        subset_size=len(images),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=sorted(names), types=["GroupConvolution"], validate=False),
    )


def _fold_weights(model: "openvino.Model", in_float: Collection[str]) -> None:
    """Compute the weights of convolutions that are products with the scales of a batch norm.

    NNCF converts only constants to int8, and a convolution with float weights is calculated in float.
    """
    from openvino import Model
    from openvino.passes import ConstantFolding

    layers = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
    weights = [node.input_value(1) for node in layers if node.get_friendly_name() not in in_float]
    if weights:
        ConstantFolding().run_on_model(Model(weights, []))


def relation_part(model: "openvino.Model") -> list[str]:
    """List the names of all operations that neither logits nor boxes depend on."""
    results = [result for result in model.get_results() if {"logits", "boxes"} & result.input_value(0).get_names()]
    detector = _needed(results)
    return [node.get_friendly_name() for node in model.get_ops() if node.get_friendly_name() not in detector]


def _needed(nodes: "Iterable[openvino.Node]") -> set[str]:
    """Return the names of operations, and of all that they depend on."""
    todo, names = list(nodes), set()
    while todo:
        node = todo.pop()
        name = node.get_friendly_name()
        if name not in names:
            names.add(name)
            todo += [value.get_node() for value in node.input_values()]
    return names


def first_convolutions(model: "openvino.Model") -> list[str]:
    """List the convolutions that see the image itself, not what another convolution made of it."""
    todo, seen, found = list(model.get_parameters()), set(), []
    while todo:
        node = todo.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() == "Convolution":
            found.append(name)
        elif node.get_type_name() != "ShapeOf":  # The size of the image goes to many places.
            todo += [target.get_node() for output in node.outputs() for target in output.get_target_inputs()]
    return found


def convolutions(model: "openvino.Model") -> list[str]:
    """List all convolutions; the rest are the linear layers of the transformer."""
    return [node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "Convolution"]


def choice_of_queries(model: "openvino.Model") -> list[str]:
    """List all convolutions, and the operations that decide which queries a model chooses by score.

    After any rounding before this choice, the decoder starts from other queries.
    """
    # The relation part looks for the best class of each object, too.
    relation = set(relation_part(model))
    choices = [node for node in model.get_ops() if node.get_type_name() == "TopK"]
    chosen = _needed(node for node in choices if node.get_friendly_name() not in relation)
    return [*convolutions(model), *chosen]


# Parts that stay in float beside the relation part, from the fastest file to the most exact one.
IN_FLOAT: tuple[Callable[["openvino.Model"], list[str]], ...] = (
    lambda model: [],
    first_convolutions,
    convolutions,
    choice_of_queries,
)


def count_layers(model: "openvino.Model") -> tuple[int, int]:
    """Count convolutions and products of matrices: those that are int8, and all of them."""
    kinds = ("Convolution", "GroupConvolution", "MatMul")
    layers = [node for node in model.get_ops() if node.get_type_name() in kinds]
    rounded = [node for node in layers if node.input_value(0).get_node().get_type_name() == "FakeQuantize"]
    return len(rounded), len(layers)


@contextmanager
def _without_statistics() -> Iterator[None]:
    """Let NNCF, imported while this is open, send no statistics to its makers; the variable is their own switch."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
