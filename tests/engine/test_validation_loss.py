"""Validation losses: the mean of the model's own losses, and runs that keep the lowest and stop when it rises."""

import json
import logging

import pytest
import torch
from detectron2.utils import comm

from egtr.checkpoint import load_checkpoint_file
from egtr.data import build_test_loader
from egtr.engine import EGTRTrainer
from egtr.engine.validation_loss import add_validation_losses, validation_losses
from egtr.layers.cpu import linear
from egtr.structures import ConfigurationError
from tests.engine.stub import STUB
from tests.modeling.models import image, small_model

TERMS = ["loss_ce", "loss_bbox", "loss_giou", "loss_rel", "loss_connectivity"]


def annotated(record, crowd=False):
    """The record of a test loader with the same objects in a file of twice the size."""
    annotations = [
        {"bbox": [2 * side for side in box], "bbox_mode": 0, "category_id": int(label), "iscrowd": 0}
        for box, label in zip(
            record["instances"].gt_boxes.tensor.tolist(), record["instances"].gt_classes, strict=True
        )
    ]
    if crowd:
        annotations.append({"bbox": [0, 0, 9, 9], "bbox_mode": 0, "category_id": 3, "iscrowd": 1})
    height, width = record["instances"].image_size
    relations = record["relations"].tolist()
    return {"image": record["image"], "height": 2 * height, "width": 2 * width, "image_id": 1} | {
        "annotations": annotations,
        "relations": relations + relations[:1],
    }


def test_the_mean_of_two_images_by_hand():
    model = small_model()
    records = [image(48, 64), image(40, 80, classes=(2, 2, 1), relations=((2, 0, 1),))]
    model.eval()
    with torch.no_grad():
        parts = [model.losses([record])[0] for record in records]
    model.train()
    found = validation_losses(model, [[annotated(records[0])], [annotated(records[1], crowd=True)]])
    assert list(found) == ["loss", *TERMS]
    for name in TERMS:
        assert found[name] == pytest.approx(float(parts[0][name] + parts[1][name]) / 2, rel=1e-6)
    # The weights of the paper.
    weights = dict(zip(TERMS, (2, 5, 2, 15, 30), strict=True))
    assert found["loss"] == pytest.approx(sum(weights[name] * found[name] for name in TERMS), rel=1e-6)
    # The model goes on as it was.
    assert model.training and model.criterion.normalizer == "global"


def test_a_model_without_losses_is_named():
    with pytest.raises(ConfigurationError, match="VALIDATION_LOSS is True, but Linear has no method losses"):
        validation_losses(torch.nn.Linear(1, 1), [])


def test_of_several_datasets_each_has_its_own(make_cfg):
    model = small_model()
    cfg = make_cfg({"DATASETS.TEST": ("one", "two")})
    loaders = {"one": [[annotated(image())]], "two": [[annotated(image(40, 80))], [annotated(image())]]}
    results = {"one": {"bbox": {}}, "two": {}}
    add_validation_losses(results, cfg, model, lambda _, name: loaders[name])
    assert {name: result["validation"] for name, result in results.items()} == {
        name: validation_losses(model, loader) for name, loader in loaders.items()
    }


def test_a_run_keeps_the_lowest_loss_and_stops_when_it_rises(make_cfg, monkeypatch, caplog):
    losses = [4.0, 3.0, 3.5, 3.2, 1.0]
    monkeypatch.setattr(
        "egtr.engine.validation_loss.validation_losses", lambda model, loader: {"loss": losses.pop(0)}
    )
    monkeypatch.setattr("detectron2.engine.DefaultTrainer.test", lambda *_: {"sgdet": {"R@50": float(len(losses))}})
    options = {"SOLVER.MAX_ITER": 9, "SOLVER.STEPS": (), "TEST.EVAL_PERIOD": 1, "TEST.EARLY_STOPPING_PATIENCE": 2}
    cfg = make_cfg(options | {"TEST.VALIDATION_LOSS": True, "TEST.BEST_METRIC": "validation/loss"} | STUB)
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    with caplog.at_level(logging.INFO):
        results = trainer.train()
    assert results["validation"] == {"loss": 3.2}
    kept = load_checkpoint_file(f"{cfg.OUTPUT_DIR}/model_best.pth")
    assert (kept["iteration"], kept["metric"], kept["score"]) == (1, "validation/loss", 3.0)
    assert kept["metrics"] == {"sgdet/R@50": 4.0, "validation/loss": 3.0}
    assert "validation/loss has not improved in 2 evaluations" in caplog.text
    (last,) = [r.getMessage() for r in caplog.records if "Its metrics" in r.getMessage()]
    assert "after iteration 1" in last and "sgdet/R@50: 4.0000" in last


def test_losses_of_a_real_model_are_metrics(make_cfg):
    cfg = make_cfg({"SOLVER.MAX_ITER": 1, "TEST.EVAL_PERIOD": 0, "TEST.VALIDATION_LOSS": True})
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert list(results["validation"]) == ["loss", *TERMS]
    assert results["validation"] == validation_losses(
        trainer.bare_model, build_test_loader(cfg, cfg.DATASETS.TEST[0])
    )
    latest = trainer.storage.latest()
    for name, weight in (("loss_ce", 2), ("loss_rel", 15)):
        assert latest[name][0] == pytest.approx(weight * latest[f"unweighted/{name}"][0], rel=1e-5)


def test_watching_losses_that_are_not_measured_is_refused(make_cfg):
    with pytest.raises(ConfigurationError, match="losses are not measured: set TEST.VALIDATION_LOSS True"):
        EGTRTrainer(make_cfg({"TEST.BEST_METRIC": "validation/loss"} | STUB))


def _records():
    torch.manual_seed(3)
    return [annotated(image(40 + 8 * k, 80, relations=((k % 2, 2, k),))) for k in range(3)]


def _share(rank, folder):
    linear.enabled = False
    torch.distributed.init_process_group("gloo", init_method=(folder / "store").as_uri(), rank=rank, world_size=2)
    comm.create_local_process_group(2)
    # Three images and two processes: one has more batches than the other.
    losses = validation_losses(small_model(), [[record] for record in _records()[rank::2]])
    (folder / f"{rank}.json").write_text(json.dumps(losses))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(tmp_path, monkeypatch):
    # Each process would measure by itself which library is faster, and results of the two differ by rounding.
    monkeypatch.setattr(linear, "enabled", False)
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=_share, args=(rank, tmp_path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    expected = validation_losses(small_model(), [[record] for record in _records()])
    for worker in workers:
        worker.join(timeout=300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected, rel=1e-6)
