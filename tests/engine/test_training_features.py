"""Averaged weights, early stopping, frozen parts and second stages, each by what it does to a run."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from torch import nn

from egtr.checkpoint import export_weights, load_checkpoint_file
from egtr.engine import EGTRTrainer
from egtr.engine.ema import EMAHook
from egtr.structures import EGTRError
from tests.engine.stub import STUB


def scored(*scores: float) -> type[EGTRTrainer]:
    """A trainer whose evaluations have these results; it keeps the weights of the models that it evaluates."""

    class Scored(EGTRTrainer):
        remaining = list(scores)
        evaluated: list[dict[str, torch.Tensor]] = []

        @classmethod
        def test(cls, cfg, model, evaluators=None):
            cls.evaluated.append(copy.deepcopy(model.state_dict()))
            return {"sgdet": {"R@50": cls.remaining.pop(0)}}

    return Scored


def run(cfg, trainer_class: type[EGTRTrainer] = EGTRTrainer, resume: bool = False) -> EGTRTrainer:
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_average_by_hand():
    model = nn.BatchNorm1d(1)
    hook = EMAHook(model, decay=0.25)
    hook.before_train()
    with torch.no_grad():
        for weight in (5.0, 9.0, 2.0):
            model.weight.fill_(weight)
            model.running_mean.fill_(weight)
            hook.after_step()
    # It starts at 1, the weight of a new norm. Shares of the old average: 2/11 in the first step, then 3/12 and, as
    # 4/13 is more than 0.25, 0.25. 1 * 2/11 + 5 * 9/11 = 47/11; 47/44 + 9 * 0.75 = 344/44; 86/44 + 2 * 0.75 = 152/44.
    assert hook.model.weight.item() == pytest.approx(152 / 44)
    assert hook.model.running_mean.item() == 2.0
    assert model.weight.item() == 2.0

    resumed = EMAHook(nn.BatchNorm1d(1), decay=0.25)
    resumed.load_state_dict(hook.state_dict())
    assert resumed.model.weight.item() == hook.model.weight.item()
    for hook_ in (hook, resumed):
        with torch.no_grad():
            hook_._source.weight.fill_(4.0)
        hook_.after_step()
        assert hook_.model.weight.item() == pytest.approx(38 / 44 + 3)


def test_averaged_weights_are_evaluated_and_kept(make_cfg):
    trainer_class = scored(10.0, 30.0, 20.0)
    cfg = make_cfg({"SOLVER.MAX_ITER": 3, "SOLVER.STEPS": (), "TEST.EVAL_PERIOD": 1, "SOLVER.EMA_DECAY": 0.9} | STUB)
    trainer = run(cfg, trainer_class)
    trained = trainer.bare_model.state_dict()
    averaged = trainer_class.evaluated
    assert not torch.equal(averaged[2]["relation.weight"], trained["relation.weight"])
    for file, expected in [("model_best", averaged[1]), ("model_ema", averaged[2]), ("model_final", trained)]:
        kept = load_checkpoint_file(str(Path(cfg.OUTPUT_DIR, f"{file}.pth")))["model"]
        for key, value in expected.items():
            assert torch.equal(kept[key], value)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_decay_out_of_range(make_cfg, decay):
    with pytest.raises(EGTRError, match="SOLVER.EMA_DECAY is.*between 0 and 1"):
        EGTRTrainer(make_cfg(STUB | {"SOLVER.EMA_DECAY": decay}))


def test_training_ends_early(make_cfg):
    # The best is the second; after two more without a better one it is enough. A tie is no rise.
    trainer_class = scored(10.0, 30.0, 20.0, 30.0)
    changes = STUB | {"SOLVER.MAX_ITER": 20, "TEST.EVAL_PERIOD": 2, "TEST.EARLY_STOPPING_PATIENCE": 2}
    cfg = make_cfg(changes)
    trainer = run(cfg, trainer_class)
    assert not trainer_class.remaining and trainer.iter == 8
    assert load_checkpoint_file(str(Path(cfg.OUTPUT_DIR, "model_best.pth")))["iteration"] == 3
    assert Path(trainer.checkpointer.get_checkpoint_file()).name == "model_final.pth"
    assert trainer._last_eval_results == {"sgdet": {"R@50": 30.0}}
    # Resumed, it does not go on: not even to an evaluation.
    assert run(cfg, trainer_class, resume=True).iter == 8
    # With more patience it does, and has counted: of three, one is left.
    trainer_class.remaining = [29.0]
    cfg.TEST.EARLY_STOPPING_PATIENCE = 3
    assert run(cfg, trainer_class, resume=True).iter == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TEST.EARLY_STOPPING_PATIENCE": -1}, "PATIENCE is -1"),
        ({"TEST.EARLY_STOPPING_PATIENCE": 2}, "nothing is evaluated during training"),
        (
            {"TEST.EARLY_STOPPING_PATIENCE": 2, "TEST.EVAL_PERIOD": 1, "TEST.BEST_METRIC": "''"},
            "nothing is evaluated.*BEST_METRIC",
        ),
    ],
)
def test_nothing_to_wait_for(make_cfg, changes, message):
    with pytest.raises(EGTRError, match=message):
        EGTRTrainer(make_cfg(changes))


def test_frozen_part_keeps_its_weights(make_cfg):
    rows = [["backbone.*", 0], ["transformer.encoder.*", 0]]
    cfg = make_cfg({"SOLVER.LR_MULTIPLIERS": rows, "SOLVER.MAX_ITER": 2, "DATASETS.TEST": ()})
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {name: parameter.detach().clone() for name, parameter in trainer.bare_model.named_parameters()}
    trainer.train()
    moved = {name for name, p in trainer.bare_model.named_parameters() if not torch.equal(p, before[name])}
    assert not any(name.startswith(("backbone.", "transformer.encoder.")) for name in moved)
    assert any(name.startswith("transformer.decoder.") for name in moved)
    assert trainer.frozen_parameters == [
        name for name in before if name.startswith(("backbone.", "transformer.encoder."))
    ]


def test_what_the_weights_lack_is_not_frozen(make_cfg, make_trainer, tmp_path):
    export_weights(build_model(make_cfg({"MODEL.EGTR.RELATION.ENABLED": False})), tmp_path / "detector.pth")
    cfg = make_cfg({"SOLVER.LR_MULTIPLIERS": [["relation.*", 0]], "MODEL.WEIGHTS": str(tmp_path / "detector.pth")})
    with pytest.raises(EGTRError, match=r"LR_MULTIPLIERS freezes relation\..*detector\.pth lacks"):
        make_trainer(cfg).resume_or_load(resume=False)


def test_second_stage_at_a_tenth_of_all_rates_from_the_best_weights(make_cfg, tmp_path):
    export_weights(build_model(make_cfg({"MODEL.EGTR.RELATION.ENABLED": False})), tmp_path / "detector.pth")
    trainer_class = scored(30.0, 10.0)
    stages = []
    changes = {"SOLVER.MAX_ITER": 2, "TEST.EVAL_PERIOD": 1, "MODEL.WEIGHTS": str(tmp_path / "detector.pth")}
    stages.append(run(make_cfg(changes), trainer_class))
    changes |= {
        "MODEL.WEIGHTS": str(tmp_path / "run/model_best.pth"),
        "OUTPUT_DIR": str(tmp_path / "second"),
        "SOLVER.BASE_LR": 1e-4,
        "SOLVER.MAX_ITER": 1,
        "DATASETS.TEST": (),
        "SOLVER.NEW_PARAMETERS": ["relation."],
    }
    stages.append(EGTRTrainer(make_cfg(changes)))
    stages[1].resume_or_load(resume=False)
    best = trainer_class.evaluated[0]
    for name, value in stages[1].bare_model.state_dict().items():
        assert torch.equal(value, best[name])
    assert not torch.equal(next(stages[0].bare_model.parameters()), next(stages[1].bare_model.parameters()))
    first, second = (
        {
            names[id(p)]: group["initial_lr"]
            for names in [{id(p): name for name, p in stage.bare_model.named_parameters()}]
            for group in stage.optimizer.param_groups
            for p in group["params"]
        }
        for stage in stages
    )
    assert second == pytest.approx({name: rate / 10 for name, rate in first.items()})
    # 1e-3 with the multiples 1, 0.1 for the backbone and 4 for what is new.
    assert sorted(set(first.values())) == pytest.approx([1e-4, 1e-3, 4e-3])
    stages[1].train()


def note_size(sizes: dict[int, int], tensor: torch.Tensor) -> torch.Tensor:
    """Count each memory once, by its address, which the graph that keeps it lets nothing else have."""
    storage = tensor.untyped_storage()
    sizes[storage.data_ptr()] = storage.nbytes()
    return tensor


@pytest.mark.parametrize("transformer", ["DeformableTransformer", "DETRTransformer"])
def test_recomputed_activations_give_the_same_gradients_with_less_kept(make_cfg, make_trainer, transformer):
    kept, gradients = [], []
    for recompute in (False, True):
        changes = {
            "SOLVER.ACTIVATION_CHECKPOINTING": recompute,
            "MODEL.EGTR.TRANSFORMER.NAME": transformer,
            "MODEL.EGTR.TRANSFORMER.DROPOUT": 0.2,
            "MODEL.EGTR.TRANSFORMER.ENC_LAYERS": 4,
        }
        seed_all_rng(0)
        trainer = make_trainer(make_cfg(changes))
        batch = next(iter(trainer._trainer.data_loader))
        sizes = {}
        # Only of the transformer: of this small model the backbone keeps most.
        noting = torch.autograd.graph.saved_tensors_hooks(partial(note_size, sizes), lambda tensor: tensor)
        part = trainer.bare_model.transformer
        part.register_forward_pre_hook(lambda *_, noting=noting: noting.__enter__())
        part.register_forward_hook(lambda *_, noting=noting: noting.__exit__())
        seed_all_rng(1)
        sum(trainer.model(batch).values()).backward()
        parameters = {parameter.untyped_storage().data_ptr() for parameter in trainer.bare_model.parameters()}
        kept.append(sum(size for address, size in sizes.items() if address not in parameters))
        gradients.append({name: p.grad for name, p in trainer.bare_model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)
    assert kept[1] < 0.6 * kept[0]


def test_recomputation_needs_layers_that_can_do_it(make_cfg):
    class Bare(EGTRTrainer):
        @classmethod
        def build_model(cls, cfg):
            return nn.Linear(1, 1)

    with pytest.raises(EGTRError, match="ACTIVATION_CHECKPOINTING is True.*PostNormLayer"):
        Bare(make_cfg({"SOLVER.ACTIVATION_CHECKPOINTING": True}))
