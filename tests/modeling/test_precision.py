"""A whole model in float64, and images too small for its coarsest feature map."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from egtr.structures import ConfigurationError

REFINE = {"MODEL.EGTR.WITH_BOX_REFINE": True}
TWO_STAGE = REFINE | {"MODEL.EGTR.TWO_STAGE": True}
DENOISING = {"MODEL.EGTR.DENOISING.ENABLED": True}
RTDETR = REFINE | {"MODEL.EGTR.TRANSFORMER.NAME": "RTDETRTransformer"}
DETR = {"MODEL.EGTR.TRANSFORMER.NAME": "DETRTransformer"}


def one_image(height: int, width: int) -> list[dict]:
    objects = Instances((height, width))
    objects.gt_boxes = Boxes(torch.tensor([[5.0, 5.0, 30.0, 40.0], [20.0, 10.0, 60.0, 45.0]]))
    objects.gt_classes = torch.tensor([1, 2])
    torch.manual_seed(2)
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    relations = torch.tensor([[0, 1, 2]])
    return [{"image": image, "height": height, "width": width, "instances": objects, "relations": relations}]


@pytest.mark.parametrize(
    "changes", [{}, REFINE | DENOISING, TWO_STAGE, TWO_STAGE | DENOISING, RTDETR, RTDETR | DENOISING, DETR]
)
def test_models_in_float64_train_and_predict(make_cfg, changes):
    inputs = one_image(64, 96)
    model = build_model(make_cfg(changes | {"DATASETS.TEST": ()}))
    single = model.eval()(inputs)[0]["instances"]
    double = model.double()(inputs)[0]["instances"]
    torch.testing.assert_close(double.scores.float(), single.scores, rtol=1e-3, atol=1e-5)
    sum(model.train()(inputs).values()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.dtype == torch.float64 and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("training", [True, False])
def test_an_image_too_small_for_the_coarsest_map_is_named(make_cfg, training):
    model = build_model(make_cfg({"MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS": 4, "DATASETS.TEST": ()}))
    with pytest.raises(ConfigurationError, match="48 x 64 pixels is too small.*NUM_FEATURE_LEVELS"):
        model.train(training)(one_image(48, 64))
