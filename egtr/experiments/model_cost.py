"""Parameters of a model, and operations for one image."""

import math
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from egtr.config.loading import without_pretrained
from egtr.modeling.relation import FrequencyBias


@dataclass(frozen=True)
class ModelPart:
    """One row of :func:`analyze_model`.

    Attributes:
        name: name of the submodule, such as "transformer" or "transformer.encoder"; "total" for all.
        parameters: count of numbers that are learned or counted from data, without frozen norms.
        trained: count of parameters that training changes by gradients.
        flops: operations for one image; a multiply-add is one operation. 0 if they were not counted.
    """

    name: str
    parameters: int
    trained: int
    flops: int


def analyze_model(cfg: CfgNode, height: int, width: int) -> list[ModelPart]:
    """Count parameters and operations of the model that ``cfg`` describes, with random weights, on the CPU.

    A tensor that several parts share counts once, in the total and in the first of these parts. The frequency tables
    count as parameters, as in the paper's 42.5 M. Operations are counted by fvcore: convolutions, matrix products,
    attention, norms, sampling. Element-wise operations are left out, and so is work that no output of one image
    depends on, such as the class heads of all decoder layers but the last.

    Args:
        cfg: the configuration.
        height, width: size of the image in pixels as the network gets it.

    Returns:
        The total, then each part, followed by its own parts.
    """
    model = _build(cfg, "cpu")
    return _rows(model, _count_flops(model, height, width))


def count_parameters(cfg: CfgNode) -> list[ModelPart]:
    """Count only the parameters, as :func:`analyze_model` does, without allocating them."""
    return _rows(_build(cfg, "meta"), {})


def _build(cfg: CfgNode, device: str) -> nn.Module:
    cfg = without_pretrained(cfg)
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    with torch.device(device):
        return build_model(cfg).eval()


def _rows(model: nn.Module, flops: dict[str, int]) -> list[ModelPart]:
    rows, seen = [], set()
    for name, module in model.named_children():
        if name not in ("backbone", "transformer", "relation"):
            continue
        inner = [(f"{name}.{child}", part) for child, part in module.named_children() if name != "backbone"]
        counted = [_part(child, part, flops, seen) for child, part in inner]
        # Parameters of the part itself, such as level embeddings.
        own = _part(name, module, flops, seen)
        rows += [
            ModelPart(
                name,
                own.parameters + sum(row.parameters for row in counted),
                own.trained + sum(row.trained for row in counted),
                own.flops,
            ),
            *(row for row in counted if row.parameters or row.flops),
        ]
    parts = [row for row in rows if "." not in row.name]
    total = ModelPart(
        "total", sum(row.parameters for row in parts), sum(row.trained for row in parts), flops.get("", 0)
    )
    return [total, *rows]


def _part(name: str, module: nn.Module, flops: dict[str, int], seen: set[int]) -> ModelPart:
    tensors = {id(parameter): parameter for parameter in module.parameters()}
    for child in module.modules():
        if isinstance(child, FrequencyBias):
            tensors |= {id(buffer): buffer for buffer in child.buffers()}
    new = [tensor for key, tensor in tensors.items() if key not in seen]
    seen.update(tensors)
    trained = sum(tensor.numel() for tensor in new if tensor.requires_grad)
    return ModelPart(name, sum(tensor.numel() for tensor in new), trained, int(flops.get(name, 0)))


class _Network(nn.Module):
    """The network from pixels to dense output as fvcore needs it: tensors in, tensors out."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        output = self.model.network(self.model.preprocess_image([{"image": pixels}]))
        found = (output.logits, output.pred_boxes, output.relation_logits, output.connectivity_logits)
        return tuple(value for value in found if value is not None)


def _matmul_flops(inputs: list, outputs: list) -> int:
    # fvcore's handler does not support products with a vector.
    return math.prod(outputs[0].type().sizes()) * inputs[0].type().sizes()[-1]


def _attention_flops(inputs: list, outputs: list) -> int:
    # Both products of scaled dot-product attention, which fvcore counts as nothing: QK^T, and the weighted values.
    *_, queries, dim = inputs[0].type().sizes()
    *batch, keys, value_dim = inputs[2].type().sizes()
    return math.prod(batch) * queries * keys * (dim + value_dim)


def _bag_flops(inputs: list, outputs: list) -> int:
    # Weighted sums of rows, which fvcore counts as nothing: each row that is read, times its weight.
    return math.prod(inputs[1].type().sizes()) * inputs[0].type().sizes()[-1]


@torch.no_grad()
def _count_flops(model: nn.Module, height: int, width: int) -> dict[str, int]:
    # By name of submodule; "" is the whole model.
    counter = FlopCountAnalysis(_Network(model), (torch.zeros(3, height, width),))
    counter.set_op_handle("aten::matmul", _matmul_flops)
    counter.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
    counter.set_op_handle("aten::embedding_bag", _bag_flops)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    counts = counter.by_module()
    return {name.removeprefix("model").removeprefix("."): int(count) for name, count in counts.items() if name}
