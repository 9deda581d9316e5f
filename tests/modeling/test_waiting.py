"""The host never waits for the device between the upload of an image and the download of its results."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from detectron2.structures import ImageList
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from egtr.modeling.postprocessing import build_instances, scale_boxes
from tests.modeling.models import small_model

MODELS = {
    "deformable": ("MODEL.EGTR.RELATION.LOGIT_ADJUSTMENT.ENABLED", True, "MODEL.EGTR.TRANSFORMER.DEC_LAYERS", 1),
    "two-stage": ("MODEL.EGTR.AUX_LOSS", True, "MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.TWO_STAGE", True),
    "detr": ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer"),
    "rtdetr": (
        "MODEL.EGTR.TRANSFORMER.NAME",
        "RTDETRTransformer",
        "MODEL.EGTR.BACKBONE.OUT_INDICES",
        [3, 4],
        "MODEL.EGTR.TRANSFORMER.DEC_POINTS_PER_LEVEL",
        [2, 1],
    ),
}
# One map of the backbone and one level made from it: operations on the meta device are slow.
LEVELS = ("MODEL.EGTR.BACKBONE.OUT_INDICES", [4], "MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS", 2)
# One image, and two that need padding.
BATCHES = [[(96, 128)], [(96, 128), (64, 100)]]


class NoHostTensors(TorchDispatchMode):
    """Refuses operations that read or make a tensor of the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        assert all(tensor.is_meta for tensor in tensors), f"waits: {func} of a tensor of the host"
        return out


class NoNumbers(TorchFunctionMode):
    """Refuses Python numbers that become tensors; :class:`NoHostTensors` does not see their way to the device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor), f"waits: {func}"
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting():
    """Refuse to wait. The meta device has no values, so operations that need one (item, nonzero, cpu) fail anyway."""
    with NoHostTensors(), NoNumbers():
        yield


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: torch.ones(2).to(x),
        lambda x: x * torch.tensor(2.0),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: bool(x.all()),
        lambda x: x[x > 0],
    ],
)
def test_what_waits_is_refused(wait):
    x = torch.empty(2, device="meta")
    with pytest.raises((AssertionError, RuntimeError)), no_waiting():
        wait(x)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@torch.no_grad()
def test_a_model_does_not_wait(options, monkeypatch):
    # The meta device does not support autocast, whose casts stay on the device.
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    model = small_model(*LEVELS, *options).eval().to("meta")
    batches = [ImageList(torch.empty(len(sizes), 3, 96, 128, device="meta"), sizes) for sizes in BATCHES]
    # The first batch of a shape makes the tables of sizes and positions.
    model.network(batches[0])
    for images, sizes in zip(batches, BATCHES, strict=True):
        with no_waiting():
            output = model.network(images)
            build_instances(output.logits[0], scale_boxes(output.pred_boxes[0], *sizes[0]), sizes[0], top_k=10)
        assert output.relation_logits.shape == (len(sizes), 6, 6, 4)
