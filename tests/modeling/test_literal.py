"""The literal model is right: it passes the model's golden tests, and equals the model in cases that those lack."""

import numpy as np
import pytest
import torch

from benchmarks.literal import make_literal
from egtr.layers.cpu import feed_forward, row_sampling
from tests.golden_cases import SMALL, GoldenCase
from tests.modeling import test_golden as golden
from tests.modeling.models import image, small_model

# Images of these sizes share one padded batch. Its coarsest map has more than one cell: a group norm over two
# channels of a single cell divides by their difference, which may be tiny and would make rounding errors large.
SIZES = [(96, 128), (113, 65)]
VARIANTS = {
    "plain": (),
    "aux_loss": ("MODEL.EGTR.AUX_LOSS", True),
    "no_gate": ("MODEL.EGTR.RELATION.SOURCE.GATE", False),
    "no_connectivity": ("MODEL.EGTR.RELATION.CONNECTIVITY_HEAD", ""),
    "one_layer": ("MODEL.EGTR.RELATION.SOURCE.LAYERS", [1], "MODEL.EGTR.RELATION.SOURCE.LAST_HIDDEN_STATE", False),
    "sum": ("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", "SumPairs"),
    "hadamard": ("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", "HadamardPairs"),
    "dot_product": ("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", "DotProductPairs"),
    "detector": ("MODEL.EGTR.RELATION.ENABLED", False),
    "box_refine": ("MODEL.EGTR.WITH_BOX_REFINE", True),
    "two_stage": ("MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.TWO_STAGE", True),
    "one_map": ("MODEL.EGTR.BACKBONE.OUT_INDICES", [4], "MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS", 3),
}


# The literal model computes something different in each of these cases; the others differ only in losses and options.
FAST = ["small", "small_two_stage"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in [*SMALL, "vg"] if name not in FAST]


@pytest.fixture(scope="module", params=[*FAST, *SLOW])
def case(request):
    case = GoldenCase(request.param)
    case.model = make_literal(case.model)
    return case


def test_golden_outputs(case):
    golden.test_outputs(case)


def test_golden_losses_in_evaluation_mode(case):
    golden.test_losses_in_evaluation_mode(case)


def test_golden_losses_and_gradients_in_training_mode(case):
    golden.test_losses_and_gradients_in_training_mode(case)


def random_model(*options):
    """Random weights everywhere, since weights that start at zero would hide mistakes."""
    model = small_model(*options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(("running_var", "norm.weight", "bn3.weight")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point() and not name.startswith("pixel_"):
                fan_in = value[0].numel() if value.ndim > 1 else 10
                value.normal_(0.0, fan_in**-0.5, generator=generator)
    return model


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    return random_model(*VARIANTS[request.param])


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(2)
    return [image(*size, boxes=((2, 2, 20, 25), (10, 5, 30, 30), (5, 8, 33, 20))) for size in SIZES]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@torch.no_grad()
def test_equals_the_model(model, inputs, training):
    """Every field of the output is equal, for a padded batch."""
    model.train(training)
    images = model.preprocess_image(inputs)
    ours, literal = model.network(images), make_literal(model).network(images)
    assert ours.logits.std(dim=1).mean() > 1e-3  # equal answers of all queries would prove little
    # The literal model has no factors of pair features.
    torch.testing.assert_close(vars(ours) | {"pairs": None}, vars(literal), rtol=0, atol=2e-5)


@pytest.mark.parametrize("model", [name for name in VARIANTS if name != "detector"], indirect=True)
def test_best_triplets_are_the_model_s(model, inputs):
    model.eval()
    for result, (triplets, scores) in zip(model(inputs), make_literal(model)(inputs), strict=True):
        graph = result["scene_graph"]
        np.testing.assert_allclose(graph.triplet_scores, scores, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(graph.triplets, triplets)


@pytest.mark.parametrize("box_refine", [False, True], ids=["plain", "box_refine"])
def test_gradients_are_the_model_s(box_refine, monkeypatch):
    """Every element, for all losses, with auxiliary ones and only some of the hard negatives.

    In double precision, since in single precision rounding can move the input of a ReLU across zero, which changes a
    gradient by half a percent. Only position embeddings are of single precision in both models, which leaves a
    difference of about 1e-6 of a parameter's largest gradient. The images have 340 cells, and a chunk of the model's
    own gradients has 100.
    """
    for module in (feed_forward, row_sampling):
        monkeypatch.setattr(module, "CHUNK", 100)
    few = ("MODEL.EGTR.LOSS.K_NEG", 3, "MODEL.EGTR.LOSS.K_NON", 3)
    model = random_model("MODEL.EGTR.AUX_LOSS", True, "MODEL.EGTR.WITH_BOX_REFINE", box_refine, *few).double().train()
    torch.manual_seed(2)
    boxes = ((2, 2, 50, 62), (30, 22, 75, 75), (8, 14, 46, 60))
    inputs = [image(*size, boxes=boxes) for size in ((128, 96), (90, 125))]
    images, targets = model.preprocess_image(inputs), model._targets(inputs)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    ours, literal = (
        torch.autograd.grad(
            sum(model.criterion.weighted(model.criterion(network(images), targets)[0]).values()), parameters.values()
        )
        for network in (model.network, make_literal(model).network)
    )
    for name, gradient, wanted in zip(parameters, ours, literal, strict=True):
        size = float(wanted.abs().max())
        assert size > 1e-5, name
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-5 * size, err_msg=name)
