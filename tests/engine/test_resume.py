"""A run that is cut anywhere and resumed is the run that was never cut."""

import errno
import json
import os
import random
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from egtr.checkpoint import load_checkpoint_file
from egtr.engine import EGTRTrainer
from egtr.engine.random_state import get_random_state, set_random_state
from egtr.engine.stop_signals import StopRequest, TrainingStopped
from egtr.structures import EGTRError, WriteError
from tests.disk import largest_file
from tests.engine.stub import STUB

# All that is random: order, size and mirroring of the images, dropout, and the drawing of negatives.
RANDOM = {
    "INPUT.MIN_SIZE_TRAIN": (40, 48, 56),
    "INPUT.RANDOM_FLIP": "horizontal",
    "MODEL.EGTR.TRANSFORMER.DROPOUT": 0.1,
    "MODEL.EGTR.LOSS.NON_SAMPLING": "random",
}


class Losses(HookBase):
    def __init__(self):
        self.of: dict[int, float] = {}

    def after_step(self):
        self.of[self.trainer.iter] = self.trainer.storage.latest()["total_loss"][0]


class At(HookBase):
    """Calls ``function`` in the step of an iteration."""

    def __init__(self, iteration: int, function):
        self.iteration, self.function = iteration, function

    def after_step(self):
        if self.trainer.iter == self.iteration:
            self.function()


def power_cut() -> None:
    raise KeyboardInterrupt


def ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def run(cfg, *more_hooks: HookBase, resume: bool = False, trainer_class=EGTRTrainer) -> tuple[EGTRTrainer, dict]:
    # What the generators did before must not matter to a resumed run.
    seed_all_rng(12345 if resume else 0)
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    losses = Losses()
    trainer.register_hooks([losses, *more_hooks])
    end = None
    try:
        trainer.train()
    except (KeyboardInterrupt, TrainingStopped) as error:
        end = error
    trainer.end = end
    return trainer, losses.of


class Recalled(EGTRTrainer):
    """Evaluations draw random numbers, as real ones may, and find the same."""

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        torch.rand(5)
        return {"sgdet": {"R@50": 10.0}}


@pytest.mark.parametrize(
    ("model", "seed", "period", "end"),
    [({}, -1, 2, 3), pytest.param({}, 0, 6, 25, marks=pytest.mark.slow), (STUB, -1, 6, 9), (STUB, 0, 6, 25)],
)
def test_losses_after_a_power_cut(make_cfg, model, seed, period, end):
    changes = RANDOM | {
        "SEED": seed,
        "SOLVER.MAX_ITER": 30,
        "SOLVER.STEPS": (15,),
        "SOLVER.WARMUP_ITERS": 12,
        "SOLVER.CHECKPOINT_PERIOD": period,
        "SOLVER.EMA_DECAY": 0.9,
        "TEST.EVAL_PERIOD": period,
    }
    trainer_class = Recalled if model else EGTRTrainer
    cfg = make_cfg(changes | model)
    # After the first period it is saved, evaluated and saved again.
    cut, expected = run(cfg, At(end, power_cut), trainer_class=trainer_class)
    for path in Path(cfg.OUTPUT_DIR).glob("model_0*.pth"):
        if int(path.stem[-7:]) > period:
            path.unlink()
    resumed, losses = run(cfg, At(end, power_cut), resume=True, trainer_class=trainer_class)
    assert sorted(losses) == list(range(period, end + 1))
    assert losses == pytest.approx({k: expected[k] for k in losses}, rel=1e-5)
    for ours, theirs in [(resumed.bare_model, cut.bare_model), (resumed._ema.model, cut._ema.model)]:
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    # No iteration has two lines, and no evaluation is missing.
    lines = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == sorted({line["iteration"] for line in lines})
    evaluated = [line["iteration"] for line in lines if "sgdet/R@50" in line]
    assert evaluated == list(range(period - 1, end + 1, period))


def test_random_state_of_all_generators():
    def draw() -> tuple:
        return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()

    draw()  # both python and numpy draw normal numbers in pairs, and remember the second
    state = get_random_state()
    first = draw()
    assert draw() != first
    set_random_state(state)
    assert draw() == first


def test_evaluation_that_was_cut_off_comes_first(make_cfg):
    class Scored(EGTRTrainer):
        cut = True
        evaluated: list[int] = []

        @classmethod
        def test(cls, cfg, model, evaluators=None):
            cls.evaluated.append(1)
            torch.rand(5)
            if cls.cut:
                power_cut()
            return {"sgdet": {"R@50": 10.0}}

    changes = STUB | RANDOM | {"SOLVER.MAX_ITER": 8, "SOLVER.CHECKPOINT_PERIOD": 4, "TEST.EVAL_PERIOD": 4}
    cfg = make_cfg(changes)
    _, losses = run(cfg, trainer_class=Scored)
    assert sorted(losses) == [0, 1, 2] and len(Scored.evaluated) == 1
    Scored.cut = False
    _, losses = run(cfg, resume=True, trainer_class=Scored)
    # One that makes up for the first, and the last.
    assert sorted(losses) == [4, 5, 6, 7] and len(Scored.evaluated) == 3
    assert load_checkpoint_file(str(Path(cfg.OUTPUT_DIR, "model_best.pth")))["iteration"] == 3
    _, expected = run(make_cfg(changes | {"OUTPUT_DIR": cfg.OUTPUT_DIR + "_whole"}), trainer_class=Scored)
    assert losses == pytest.approx({k: expected[k] for k in losses}, rel=1e-5)


def test_signal_is_answered_by_a_checkpoint(make_cfg):
    changes = STUB | RANDOM | {"SOLVER.MAX_ITER": 9, "DATASETS.TEST": ()}
    before = signal.getsignal(signal.SIGTERM)
    stopped, first = run(make_cfg(changes), At(4, ask_to_stop))
    assert isinstance(stopped.end, TrainingStopped) and stopped.end.code == 0
    assert signal.getsignal(signal.SIGTERM) is before
    # The signal came from hook 'At' in iteration 4, after the hook that looks for signals: one more step.
    assert sorted(first) == list(range(6))
    assert Path(stopped.checkpointer.get_checkpoint_file()).name == "model_0000005.pth"
    _, rest = run(make_cfg(changes), resume=True)
    _, expected = run(make_cfg(changes | {"OUTPUT_DIR": make_cfg().OUTPUT_DIR + "_whole"}))
    assert first | rest == pytest.approx(expected, rel=1e-5)


def test_signal_ends_an_evaluation(make_cfg):
    class Slow(EGTRTrainer):
        asks = True

        @classmethod
        def test(cls, cfg, model, evaluators=None):
            if cls.asks:
                ask_to_stop()
                raise AssertionError("the evaluation went on")
            return {"sgdet": {"R@50": 10.0}}

    changes = STUB | {"SOLVER.MAX_ITER": 4, "TEST.EVAL_PERIOD": 2}
    stopped, first = run(make_cfg(changes), trainer_class=Slow)
    assert isinstance(stopped.end, TrainingStopped) and sorted(first) == [0, 1]
    # No checkpoint was due.
    assert Path(stopped.checkpointer.get_checkpoint_file()).name == "model_0000001.pth"
    # One that is due was written before the evaluation, and nothing more is written after it.
    due = make_cfg(changes | {"SOLVER.CHECKPOINT_PERIOD": 2, "OUTPUT_DIR": make_cfg().OUTPUT_DIR + "_due"})
    run(due, trainer_class=Slow)
    assert [path.name for path in Path(due.OUTPUT_DIR).glob("model_*")] == ["model_0000001.pth"]
    # The evaluation that a resumed run starts with can be ended, too.
    again, losses = run(make_cfg(changes), resume=True, trainer_class=Slow)
    assert isinstance(again.end, TrainingStopped) and not losses
    Slow.asks = False
    done, rest = run(make_cfg(changes), resume=True, trainer_class=Slow)
    assert done.end is None and sorted(rest) == [2, 3]
    # And the one at the end, which only a resumed run then makes up for.
    Slow.asks = True
    last = make_cfg(changes | {"SOLVER.MAX_ITER": 1, "OUTPUT_DIR": make_cfg().OUTPUT_DIR + "_last"})
    stopped, _ = run(last, trainer_class=Slow)
    assert isinstance(stopped.end, TrainingStopped)
    assert Path(stopped.checkpointer.get_checkpoint_file()).name == "model_final.pth"
    Slow.asks = False
    done, rest = run(last, resume=True, trainer_class=Slow)
    assert done._last_eval_results == {"sgdet": {"R@50": 10.0}} and not rest


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: a background job of a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_second_interrupt_does_not_wait():
    request = StopRequest()
    with request.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # twice, as some clusters send it
        os.kill(os.getpid(), signal.SIGINT)
        assert request.received
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        # Too late for what must not be entered any more.
        with pytest.raises(TrainingStopped), request.interrupting():
            raise AssertionError


def test_damaged_last_checkpoint(make_cfg, caplog):
    changes = STUB | {"SOLVER.MAX_ITER": 6, "SOLVER.CHECKPOINT_PERIOD": 2, "DATASETS.TEST": ()}
    cfg = make_cfg(changes)
    _, expected = run(cfg, At(4, power_cut))
    last = Path(cfg.OUTPUT_DIR, "model_0000003.pth")
    last.write_bytes(last.read_bytes()[:-1000])
    _, losses = run(cfg, At(4, power_cut), resume=True)
    assert f"{last}: the file is damaged" in caplog.text
    assert losses == pytest.approx({k: expected[k] for k in (2, 3, 4)}, rel=1e-5)


def test_full_disk_in_training(make_cfg):
    changes = STUB | {"SOLVER.MAX_ITER": 6, "SOLVER.CHECKPOINT_PERIOD": 2, "DATASETS.TEST": ()}
    cfg = make_cfg(changes)
    _, expected = run(make_cfg(changes | {"OUTPUT_DIR": cfg.OUTPUT_DIR + "_whole"}))
    run(cfg, At(1, power_cut))
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=True)
    size = Path(cfg.OUTPUT_DIR, "model_0000001.pth").stat().st_size
    with largest_file(size // 2), pytest.raises(EGTRError, match=r"model_0000003\.pth: cannot be written.*Make room"):
        trainer.train()
    assert not list(Path(cfg.OUTPUT_DIR).glob("*.part"))
    _, losses = run(cfg, resume=True)
    assert losses == pytest.approx({k: expected[k] for k in (2, 3, 4, 5)}, rel=1e-5)


def test_full_disk_elsewhere(make_cfg):
    def fail(number: int) -> None:
        raise OSError(number, os.strerror(number), "metrics.json")

    for number, kind in ((errno.ENOSPC, WriteError), (errno.EIO, OSError)):
        trainer = EGTRTrainer(make_cfg(STUB | {"DATASETS.TEST": ()}))
        trainer.register_hooks([At(1, partial(fail, number))])
        with pytest.raises(kind, match=r"metrics\.json"):
            trainer.train()


def test_old_checkpoints_go_in_a_resumed_run_too(make_cfg):
    changes = {"SOLVER.MAX_ITER": 5, "SOLVER.CHECKPOINT_PERIOD": 1, "SOLVER.KEEP_CHECKPOINTS": 2, "DATASETS.TEST": ()}
    cfg = make_cfg(STUB | changes)

    def names() -> list[str]:
        return sorted(path.stem for path in Path(cfg.OUTPUT_DIR).glob("model_*.pth"))

    run(cfg, At(2, power_cut))
    assert names() == ["model_0000001", "model_0000002"]
    run(cfg, resume=True)
    assert names() == ["model_0000002", "model_0000003", "model_final"]


def test_negative_number_of_checkpoints(make_cfg):
    with pytest.raises(EGTRError, match="SOLVER.KEEP_CHECKPOINTS is -1"):
        EGTRTrainer(make_cfg(STUB | {"SOLVER.KEEP_CHECKPOINTS": -1}))
    with pytest.raises(EGTRError, match="SOLVER.CHECKPOINT_PERIOD is 0"):
        EGTRTrainer(make_cfg(STUB | {"SOLVER.CHECKPOINT_PERIOD": 0}))


def test_a_checkpoint_of_version_0_1_is_resumed(make_cfg):
    """What one hook has now, three hooks had then."""
    changes = STUB | RANDOM | {"SOLVER.MAX_ITER": 6, "SOLVER.CHECKPOINT_PERIOD": 2, "TEST.EVAL_PERIOD": 2}
    cfg = make_cfg(changes | {"TEST.EARLY_STOPPING_PATIENCE": 9})
    cut, expected = run(cfg, At(2, power_cut), trainer_class=Recalled)
    path = Path(cfg.OUTPUT_DIR, "model_0000001.pth")
    content = torch.load(path, weights_only=True)
    hooks = content["trainer"]["hooks"]
    state = hooks.pop("AfterStepHook")
    hooks["CheckpointHook"] = {"random_states": state["random_states"]}
    hooks["EvaluationHook"] = {"evaluated": state["evaluated"]}
    hooks["BestCheckpointer"] = state["best"]
    torch.save(content, path)
    resumed, losses = run(cfg, At(2, power_cut), resume=True, trainer_class=Recalled)
    assert losses == {2: expected[2]}
    assert resumed._after_step.state_dict()["evaluated"] == 1
    assert resumed._after_step.best.state_dict() == {"metric": "sgdet/R@50", "best": 10.0, "stale": 0}
