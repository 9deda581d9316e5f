import copy
import math

import pytest
import torch
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from egtr.config.defaults import get_egtr_cfg
from egtr.engine import AccumulatingTrainer, build_train_loop
from egtr.structures import EGTRError
from tests.running import fork_processes


class TwoLosses(nn.Module):
    """A small network with two named losses over a batch of shape (B, 4)."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        output = self.layers(batch)
        return {"loss_a": output.square().mean(), "loss_b": 0.5 * (output - 1).abs().mean()}


def distributed_step() -> None:
    """One process of two: its step over its own two batches must equal one process's step over all four."""
    batches = torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = TwoLosses()
    reference = copy.deepcopy(model)
    expected = run_one_step(reference, list(batches), accumulate_steps=4)
    wrapped = create_ddp_model(model, broadcast_buffers=False, device_ids=None)
    logged = run_one_step(wrapped, list(batches[comm.get_rank() :: 2]), accumulate_steps=2)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    for name in ("loss_a", "loss_b", "total_loss", "grad_norm"):
        assert logged[name] == pytest.approx(expected[name], rel=1e-4)


class Slopes(nn.Module):
    """Two parameters whose gradients are 3 and 4 whatever their values."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss_first": 3 * self.first.sum() * batch, "loss_second": 4 * self.second.sum()}


def run_one_step(model: nn.Module, batches: list[torch.Tensor], **options) -> dict[str, float]:
    """One SGD step of rate 1, so that weights move by exactly the gradient; returns the logged values."""
    trainer = AccumulatingTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=1.0), **options)
    trainer.iter = 0
    with EventStorage(0) as storage:
        trainer.run_step()
        return {name: value for name, (value, _) in storage.latest().items()}


def test_accumulated_gradient_is_mean_over_micro_batches():
    torch.manual_seed(0)
    model = TwoLosses()
    reference, start = copy.deepcopy(model), copy.deepcopy(model)
    batches = list(torch.randn(3, 5, 4))
    logged = run_one_step(model, batches, accumulate_steps=3)

    losses = [reference(batch) for batch in batches]
    (sum(sum(loss.values()) for loss in losses) / 3).backward()
    for moved, initial, expected in zip(model.parameters(), start.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(initial - moved, expected.grad, rtol=0, atol=1e-6)
    means = {name: sum(loss[name].item() for loss in losses) / 3 for name in ("loss_a", "loss_b")}
    assert logged["loss_a"] == pytest.approx(means["loss_a"], abs=1e-6)
    assert logged["loss_b"] == pytest.approx(means["loss_b"], abs=1e-6)
    assert logged["total_loss"] == pytest.approx(sum(means.values()), abs=1e-6)


@pytest.mark.parametrize(
    "max_grad_norm, expected",
    [
        # The gradient (3, 4) has norm 5. At most 0.1: both shrink by 50. Clipped one by one, both would be 0.1.
        (0.1, (0.06, 0.08)),
        (10.0, (3.0, 4.0)),
        (None, (3.0, 4.0)),
    ],
)
def test_clips_norm_over_all_parameters(max_grad_norm, expected):
    model = Slopes()
    logged = run_one_step(model, [torch.tensor(1.0)], max_grad_norm=max_grad_norm)
    assert (-model.first.item(), -model.second.item()) == pytest.approx(expected, rel=1e-4)
    assert logged["grad_norm"] == pytest.approx(5.0)


def test_gradients_do_not_leak_into_the_next_step():
    model = Slopes()
    trainer = AccumulatingTrainer(
        model, [torch.tensor(1.0)] * 4, torch.optim.SGD(model.parameters(), lr=1.0), accumulate_steps=2
    )
    with EventStorage(0):
        for trainer.iter in range(2):
            trainer.run_step()
    assert (model.first.item(), model.second.item()) == (-6.0, -8.0)


def records(factor: float, *image_ids: int) -> list[dict]:
    """A batch as Detectron2's loaders make them, for SlopesOfRecords."""
    return [{"image_id": image_id, "factor": factor} for image_id in image_ids]


class SlopesOfRecords(Slopes):
    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor]:
        return super().forward(torch.tensor(batch[0]["factor"]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_term_and_images_and_changes_no_weight(value):
    """The second of two micro-batches is to blame. 0 times infinity is NaN, too."""
    model = SlopesOfRecords()
    batches = [records(1.0, 3, 4), records(value, 17, 18)]
    with pytest.raises(EGTRError, match=r"Iteration 0: loss_first of .* ids 17, 18 is not finite.*BASE_LR.*SKIP_NON"):
        run_one_step(model, batches, accumulate_steps=2)
    assert (model.first.item(), model.second.item()) == (0.0, 0.0)


class Steep(SlopesOfRecords):
    """The loss is 0, its gradient infinite."""

    def forward(self, batch):
        return {"loss": (self.first + self.second).sqrt().sum() * batch[0]["factor"]}


def test_a_gradient_that_is_not_finite_is_found_though_the_losses_are():
    model = Steep()
    with pytest.raises(EGTRError, match="Iteration 0: the gradient of the batch with image ids 5 is not finite"):
        run_one_step(model, [records(1.0, 5)])
    assert (model.first.item(), model.second.item()) == (0.0, 0.0)


def test_steps_are_skipped_up_to_the_limit_in_succession(caplog):
    """good, bad, bad, good, bad, bad, bad: with 2 to skip, the last one ends the run; both good ones have stepped."""
    model = SlopesOfRecords()
    factors = [1.0, math.nan, math.inf, 1.0, math.nan, math.nan, math.nan]
    batches = [records(factor, k) for k, factor in enumerate(factors)]
    trainer = AccumulatingTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=1.0), skip_non_finite=2)
    with EventStorage(0) as storage:
        for trainer.iter in range(6):
            trainer.run_step()
        assert (model.first.item(), model.second.item()) == (-6.0, -8.0)
        # The loss of the steps that trained is written, not NaN.
        assert math.isfinite(storage.latest()["total_loss"][0])
        resumed = AccumulatingTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=1.0), skip_non_finite=2)
        resumed.load_state_dict(trainer.state_dict())
        for loop in (trainer, resumed):
            with pytest.raises(EGTRError, match="not finite"):
                loop.iter = 6
                loop._data_loader_iter_obj = iter(batches[6:])
                loop.run_step()
    skipped = [record.message for record in caplog.records if "Step skipped" in record.message]
    assert [message.rpartition("skipped, ")[2] for message in skipped] == [
        f"{k} of 2 in succession" for k in (1, 2, 1, 2)
    ]
    assert (model.first.item(), model.second.item()) == (-6.0, -8.0)


def test_float16_skips_a_loss_that_is_not_finite_and_scales_on():
    model = SlopesOfRecords()
    batches = [records(1.0, 1), records(math.nan, 2), records(1.0, 3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = AccumulatingTrainer(model, batches, optimizer, amp_dtype=torch.float16, skip_non_finite=1)
    with EventStorage(0):
        for trainer.iter in range(3):
            trainer.run_step()
    assert (model.first.item(), model.second.item()) == (-6.0, -8.0)


def skip_together() -> None:
    """The second of two processes meets NaN: both skip, both name its image, and both go on."""
    model = SlopesOfRecords()
    wrapped = create_ddp_model(model, broadcast_buffers=False, device_ids=None)
    bad = math.nan if comm.get_rank() else 1.0
    batches = [records(bad, 10 + comm.get_rank()), records(1.0, 0), records(bad, 20 + comm.get_rank())]
    trainer = AccumulatingTrainer(wrapped, batches, torch.optim.SGD(model.parameters(), lr=1.0))
    trainer.skip_non_finite = 1
    with EventStorage(0):
        for trainer.iter in range(2):
            trainer.run_step()
        trainer.skip_non_finite = 0
        with pytest.raises(EGTRError, match="loss_first of the batch with image ids 21 is not finite"):
            trainer.run_step()
    assert (model.first.item(), model.second.item()) == (-3.0, -4.0)


def test_two_processes_skip_together(tmp_path):
    fork_processes(skip_together, tmp_path)


def test_bfloat16_on_the_cpu_keeps_weights_in_float32():
    seen = []

    class Watched(TwoLosses):
        def forward(self, batch):
            seen.append(self.layers(batch).dtype)
            return super().forward(batch)

    model = Watched()
    run_one_step(model, [torch.randn(5, 4)], amp_dtype=torch.bfloat16)
    assert seen == [torch.bfloat16]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_two_processes_step_as_one(tmp_path):
    fork_processes(distributed_step, tmp_path)


def test_float16_steps_in_true_units_and_survives_overflow():
    model = Slopes()
    trainer = AccumulatingTrainer(
        model,
        [torch.tensor(1.0), torch.tensor(1.0), torch.tensor(1e35)],
        torch.optim.SGD(model.parameters(), lr=1.0),
        accumulate_steps=1,
        max_grad_norm=0.1,
        amp_dtype=torch.float16,
    )
    with EventStorage(0) as storage:
        for trainer.iter in range(2):
            trainer.run_step()
        # Clipping and logging see gradients without the scale: 5 and two steps of (0.06, 0.08), as in full precision.
        assert storage.latest()["grad_norm"][0] == pytest.approx(5.0)
        assert (model.first.item(), model.second.item()) == pytest.approx((-0.12, -0.16), rel=1e-3)
        before, scale = model.first.item(), trainer.grad_scaler.get_scale()
        # 3e35 times the scale of 65536 is beyond float32: the step is left out and the scale is halved.
        trainer.run_step()
        assert model.first.item() == before
        assert trainer.grad_scaler.get_scale() == scale / 2


def test_configuration_reaches_the_loop():
    cfg = get_egtr_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.SOLVER.ACCUMULATE_STEPS = 2
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "full_model"
    model = Slopes()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loop = build_train_loop(cfg, model, [], optimizer)
    assert (loop.accumulate_steps, loop.max_grad_norm, loop.amp_dtype) == (2, None, None)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = True, 0.1
    cfg.SOLVER.AMP.ENABLED = True
    loop = build_train_loop(cfg, model, [], optimizer)
    assert (loop.max_grad_norm, loop.amp_dtype) == (0.1, torch.bfloat16)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", "CLIP_TYPE is 'norm'.*full_model"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.0, "CLIP_VALUE is 0.0"),
        ("SOLVER.ACCUMULATE_STEPS", 0, "ACCUMULATE_STEPS is 0"),
        ("SOLVER.AMP.DTYPE", "float16", "float16.*CUDA.*bfloat16"),
        ("SOLVER.AMP.DTYPE", "half", "DTYPE is 'half'.*float16"),
    ],
)
def test_errors_name_key_and_remedy(key, value, message):
    cfg = get_egtr_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.SOLVER.AMP.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = True, "full_model"
    cfg.merge_from_list([key, value])
    model = Slopes()
    with pytest.raises(EGTRError, match=message):
        build_train_loop(cfg, model, [], torch.optim.SGD(model.parameters(), lr=1.0))
