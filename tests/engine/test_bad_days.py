"""Whole runs on data with nothing to learn relations from, and over a batch that makes losses NaN."""

import json
import logging
import math

import pytest
import torch
from detectron2.engine import HookBase

from egtr.checkpoint import EGTRCheckpointer
from egtr.engine import EGTRTrainer
from egtr.structures import EGTRError


class Recorder(HookBase):
    """Keeps the values that each step logs."""

    def __init__(self):
        self.steps: list[dict[str, float]] = []

    def after_step(self):
        self.steps.append({name: value for name, (value, _) in self.trainer.storage.latest().items()})


def train(cfg, trainer_class=EGTRTrainer):
    """The trainer after its run, what each step logged, and the results of the evaluation at the end."""
    trainer, recorder = trainer_class(cfg), Recorder()
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([recorder])
    results = trainer.train()
    return trainer, recorder.steps, results


def change_files(dataset, change):
    """Call ``change(annotations, relations)`` on each split: a list in COCO's format, and image id to triplets."""
    rel = json.loads((dataset.root / "rel.json").read_text())
    for split in ("train", "val"):
        path = dataset.root / f"{split}.json"
        content = json.loads(path.read_text())
        change(content["annotations"], rel[split])
        path.write_text(json.dumps(content))
    (dataset.root / "rel.json").write_text(json.dumps(rel))


def keep_one_object(annotations, relations):
    first = {entry["image_id"]: entry for entry in reversed(annotations)}
    annotations[:] = first.values()
    take_relations(annotations, relations)


def take_relations(annotations, relations):
    for image_id in relations:
        relations[image_id] = []


def take_entries_of_relations(annotations, relations):
    relations.clear()


def keep_relations_of_one_image(annotations, relations):
    for image_id in list(relations)[1:]:
        relations[image_id] = []


@pytest.mark.parametrize(
    ("change", "with_relations", "options"),
    [
        (keep_one_object, 0, {}),
        (take_relations, 0, {}),
        (take_entries_of_relations, 0, {"MODEL.EGTR.LOSS.REL_LOSS": "focal"}),
        (take_relations, 0, {"MODEL.EGTR.LOSS.REL_LOSS": "logit_adjusted"}),
        (keep_relations_of_one_image, 1, {}),
    ],
)
def test_steps_without_relations(make_cfg, make_tiny_dataset, change, with_relations, options):
    """The two steps see each of the four images once: a batch without relations has nothing to learn of them."""
    dataset = make_tiny_dataset(num_images=4, seed=11)
    change_files(dataset, change)
    sets = {"DATASETS.TRAIN": (dataset.train,), "DATASETS.TEST": (dataset.val,)}
    cfg = make_cfg(sets | {"SOLVER.MAX_ITER": 2, "SOLVER.STEPS": (1,)} | options)
    torch.manual_seed(1)
    before = {name: p.detach().clone() for name, p in EGTRTrainer.build_model(cfg).named_parameters()}
    torch.manual_seed(1)
    trainer, steps, results = train(cfg)
    assert len(steps) == 2 and all(math.isfinite(value) for step in steps for value in step.values())
    assert sum(step["loss_rel"] > 0 for step in steps) == with_relations
    assert all(step["loss_ce"] > 0 and step["loss_connectivity"] > 0 and step["grad_norm"] > 0 for step in steps)
    after = dict(trainer.bare_model.named_parameters())
    assert all(bool(p.isfinite().all()) for p in after.values())
    # That there is no relation is learnt, too.
    for part in ("relation.", "transformer.", "backbone."):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part))
    # How much was found of what is not there cannot be said; of the objects it can.
    assert math.isnan(results["sgdet"]["R@50"]) == (not with_relations) and results["bbox"]["AP"] >= 0


class OneBadBatch(EGTRTrainer):
    """Pixels of the ``bad``-th batch are infinite, as a mapper of one's own might make them of images of floats."""

    bad = 1

    @classmethod
    def build_train_loader(cls, cfg):
        for number, batch in enumerate(super().build_train_loader(cfg)):
            if number == cls.bad:
                batch = [record | {"image": torch.full(record["image"].shape, math.inf)} for record in batch]
            yield batch


@pytest.fixture
def image_ids(make_cfg):
    """Image ids of the first three batches."""
    batches = EGTRTrainer.build_train_loader(make_cfg())
    return [[record["image_id"] for record in batch] for batch, _ in zip(batches, range(3), strict=False)]


@pytest.mark.parametrize("bad", [0, 1])
def test_a_batch_that_makes_losses_nan_ends_the_run(make_cfg, monkeypatch, image_ids, bad):
    monkeypatch.setattr(OneBadBatch, "bad", bad)
    cfg = make_cfg({"SOLVER.MAX_ITER": 3, "SOLVER.STEPS": (), "SOLVER.CHECKPOINT_PERIOD": 1, "DATASETS.TEST": ()})
    named = ", ".join(map(str, image_ids[bad]))
    with pytest.raises(EGTRError, match=f"Iteration {bad}: loss_ce, .* of the batch with image ids {named} is not"):
        train(cfg, OneBadBatch)
    checkpointer = EGTRCheckpointer(EGTRTrainer.build_model(cfg), cfg.OUTPUT_DIR)
    assert checkpointer.has_checkpoint() == (bad > 0)
    if bad:
        assert checkpointer.get_checkpoint_file().endswith(f"model_{bad - 1:07d}.pth")


@pytest.mark.parametrize("bad", [0, 1])
def test_a_batch_that_makes_losses_nan_is_skipped(make_cfg, monkeypatch, image_ids, caplog, bad):
    """No warning of the schedule either, if it is the very first one: warnings are errors in tests."""
    monkeypatch.setattr(OneBadBatch, "bad", bad)
    changes = {"SOLVER.MAX_ITER": 3, "SOLVER.STEPS": (), "SOLVER.CHECKPOINT_PERIOD": 1, "SOLVER.SKIP_NON_FINITE": 1}
    with caplog.at_level(logging.WARNING):
        trainer, steps, results = train(make_cfg(changes), OneBadBatch)
    assert f"image ids {', '.join(map(str, image_ids[bad]))} is not finite" in caplog.text
    assert len(steps) == 3 and trainer.iter == 3 and 0 <= results["sgdet"]["R@50"] <= 100
    # Running statistics of norms, too, though they have seen the batch before anyone could know.
    assert all(bool(t.isfinite().all()) for t in trainer.bare_model.state_dict().values())
    assert (trainer.checkpointer.get_checkpoint_file()).endswith("model_final.pth")


def test_a_rate_that_is_far_too_high_ends_the_run(make_cfg, image_ids):
    """No data to blame: the first step makes weights so large that the second one overflows."""
    changes = {"SOLVER.BASE_LR": 1e30, "SOLVER.MAX_ITER": 4, "SOLVER.CHECKPOINT_PERIOD": 1, "DATASETS.TEST": ()}
    named = ", ".join(map(str, image_ids[1]))
    with pytest.raises(EGTRError, match=f"Iteration 1: .* image ids {named} is not finite.*lower SOLVER.BASE_LR"):
        train(make_cfg(changes))
