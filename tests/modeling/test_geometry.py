"""Positions and masks of a batch, and the results that are kept from one image to the next."""

import pytest
import torch
from detectron2.structures import ImageList

from egtr.modeling.transformer import geometry
from egtr.modeling.transformer.geometry import map_geometry, valid_pixels
from tests.modeling.models import image, small_model

CPU = torch.device("cpu")
SHAPES = [(4, 6), (2, 3)]


def valid(*sizes):
    """Images of these sizes in a batch of 16 x 24 pixels."""
    mask = torch.zeros(len(sizes), 16, 24, dtype=torch.bool)
    for index, (height, width) in enumerate(sizes):
        mask[index, :height, :width] = True
    return mask


def test_by_hand():
    """3 of 6 columns are valid: (0.5, 1.5, 2.5) / 3 of the valid part, and the valid part is half of the map."""
    found = map_geometry(valid((16, 24), (16, 12)), SHAPES, 8, CPU)
    torch.testing.assert_close(found.valid_ratios[1], torch.tensor([[0.5, 1.0], [2 / 3, 1.0]]))
    # The first row of the first level, read on the first level. Column 0: 0.5 / (0.5 * 6) * 0.5.
    torch.testing.assert_close(found.reference_points[1, :6, 0, 0], (torch.arange(6) + 0.5) / 6)
    torch.testing.assert_close(found.reference_points[0, :6, 0, 1], torch.full((6,), 0.125))
    assert found.padding_mask[0].sum() == 0
    # 3 of 6 columns in 4 rows, and 1 of 3 in 2: nearest reads columns 0, 8 and 16 of 24 at the second level.
    assert found.padding_mask[1].sum() == 12 + 2


def test_without_padding_it_is_that_of_the_padded_formula():
    single, batch = (map_geometry(mask, SHAPES, 8, CPU) for mask in (None, valid((16, 24), (8, 8))))
    assert single.padding_mask is None
    torch.testing.assert_close(single.reference_points[0], batch.reference_points[0], rtol=0, atol=0)
    torch.testing.assert_close(single.valid_ratios[0], batch.valid_ratios[0], rtol=0, atol=0)
    for ours, expected in zip(single.positions, batch.positions, strict=True):
        torch.testing.assert_close(ours[0], expected[0], rtol=0, atol=0)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shapes_without_padding_are_kept_on_every_device(device):
    once = map_geometry(None, SHAPES, 8, device)
    assert map_geometry(None, list(SHAPES), 8, torch.device(device)) is once
    assert {tensor.device.type for tensor in (*once.positions, *once[1:3])} == {device}
    assert map_geometry(None, SHAPES, 16, device) is not once
    assert map_geometry(None, SHAPES[::-1], 8, device) is not once


def test_valid_pixels():
    padded = torch.zeros(2, 3, 16, 24)
    assert valid_pixels(ImageList(padded, [(16, 24), (16, 24)])) is None
    assert torch.equal(valid_pixels(ImageList(padded, [(16, 24), (8, 8)])), valid((16, 24), (8, 8)))
    assert valid_pixels(ImageList(padded, torch.tensor([[16, 24], [16, 24]]).unbind())) is None
    # A backbone that needs multiples of 32, for example, pads a single image, too.
    assert torch.equal(valid_pixels(ImageList(padded[:1], [(15, 24)])), valid((15, 24)))


@pytest.mark.parametrize("name", ["DeformableTransformer", "DETRTransformer"])
@torch.no_grad()
def test_positions_of_a_shape_are_made_once(name, monkeypatch):
    model = small_model("MODEL.EGTR.TRANSFORMER.NAME", name).eval()
    first, second = (model.preprocess_image(inputs) for inputs in ([image()], [image(), image()]))
    model.network(first)
    monkeypatch.setattr(geometry, "sine_position_embedding", None)
    model.network(second)


@pytest.mark.parametrize(
    "options", [(), ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer")], ids=["deformable", "detr"]
)
def test_a_model_trains_after_inference(options):
    """Inference must not keep tensors of the inference mode, since gradients cannot pass them."""
    model, inputs = small_model(*options), [image(56, 72)]  # No other test uses this size.
    with torch.inference_mode():
        model.eval()(inputs)
    sum(model.train()(inputs).values()).backward()
    assert any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["DeformableTransformer", "DETRTransformer"])
def test_answers_of_earlier_layers_only_for_auxiliary_losses(name):
    options = ("MODEL.EGTR.TRANSFORMER.NAME", name)
    plain, auxiliary = small_model(*options), small_model(*options, "MODEL.EGTR.AUX_LOSS", True)
    images = plain.preprocess_image([image()])
    with torch.no_grad():
        last, every = (model.eval()._detect(images) for model in (plain, auxiliary))
    assert [len(x) for x in (last.logits, last.pred_boxes, every.logits, every.pred_boxes)] == [1, 1, 2, 2]
    torch.testing.assert_close(last.logits[-1], every.logits[-1], rtol=0, atol=0)
    torch.testing.assert_close(last.pred_boxes[-1], every.pred_boxes[-1], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["DeformableTransformer", "DETRTransformer"])
@torch.no_grad()
def test_a_batch_without_padding_equals_its_images(name):
    model = small_model("MODEL.EGTR.TRANSFORMER.NAME", name).eval()
    inputs = [image(), image()]
    both = model.network(model.preprocess_image(inputs))
    for index in range(2):
        alone = model.network(model.preprocess_image(inputs[index : index + 1]))
        torch.testing.assert_close(both.logits[index], alone.logits[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(both.relation_logits[index], alone.relation_logits[0], rtol=0, atol=1e-5)
