"""Our model equals the released implementation: outputs, losses of both modes and gradients."""

import numpy as np
import pytest
import torch

from egtr.checkpoint import convert_name
from tests.golden_cases import SMALL, GoldenCase

CASES = [*SMALL, pytest.param("vg", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return GoldenCase(request.param)


def close(ours: torch.Tensor, golden: np.ndarray):
    np.testing.assert_allclose(ours.detach().numpy(), golden, rtol=0, atol=1e-4)


@torch.no_grad()
def test_outputs(case):
    model, golden = case.model.eval(), case.arrays
    output = model.network(model.preprocess_image(case.inputs))
    close(output.logits, golden["logits"])
    close(output.pred_boxes, golden["pred_boxes"])
    close(torch.stack(output.hidden_states, dim=1)[:, :, :8], golden["decoder_hidden"])
    close(output.memory.mean(-1), golden["encoder_hidden_mean"])
    heads = case.record["config"]["decoder_attention_heads"]

    def split(x):  # (B, N, d) to (B, heads, 8, d / heads), the first 8 queries
        return x[:, :8].unflatten(-1, (heads, -1)).transpose(1, 2)

    head_dim = golden["query_layer0"].shape[-1]
    close(split(output.queries[0]) * head_dim**-0.5, golden["query_layer0"])
    close(split(output.keys[0]), golden["key_layer0"])
    close(output.connectivity_logits.sigmoid(), golden["connectivity"])
    batch, subject, obj, predicate = golden["rel_index"].T
    close(output.relation_logits.sigmoid()[batch, subject, obj, predicate], golden["rel_value"])


def check_losses(case, losses, logged, golden):
    ours = {name: float(value.detach()) for name, value in {**losses, **logged}.items()}
    assert set(ours) == set(golden)
    for name, value in golden.items():
        assert ours[name] == pytest.approx(value, rel=1e-4, abs=1e-9), name
    return ours


@torch.no_grad()
def test_losses_in_evaluation_mode(case):
    losses, logged = case.model.eval().losses(case.inputs)
    check_losses(case, losses, logged, case.record["eval"])
    total = sum(case.model.criterion.weighted(losses).values())
    assert float(total) == pytest.approx(case.record["eval_total"], rel=1e-4)


def test_losses_and_gradients_in_training_mode(case):
    model = case.model.train()
    model.zero_grad()
    losses, logged = model.losses(case.inputs)
    check_losses(case, losses, logged, case.record["train"])
    total = sum(model.criterion.weighted(losses).values())
    assert float(total.detach()) == pytest.approx(case.record["train_total"], rel=1e-4)
    total.backward()
    # The record has a shared tensor once, under the name of its first module.
    golden = {}
    for name, value in case.record["grad_norm"].items():
        name = name.removeprefix("model.decoder.") if "_embed" in name and "decoder" in name else name
        golden[convert_name(name)] = value
    ours = {
        name: float(parameter.grad.norm())
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }
    assert set(ours) == set(golden)
    for name, value in golden.items():
        assert ours[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


def test_parameter_count(case):
    """Shared tensors once; the frequency tables count, frozen norms do not."""
    count = sum(parameter.numel() for parameter in case.model.parameters())
    count += sum(buffer.numel() for buffer in case.model.relation.frequency_bias.buffers())
    assert count == case.record["params"]


def test_forward_returns_the_weighted_losses(case):
    """`forward` in training mode is the sum that the golden total is made of."""
    model = case.model.train()
    total = float(sum(model(case.inputs).values()).detach())
    assert total == pytest.approx(case.record["train_total"], rel=1e-4)
