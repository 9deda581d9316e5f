"""The images of a run in TensorBoard, read back from the event file that it wrote."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from egtr.engine import EGTRTrainer, graph_images
from egtr.engine.graph_images import choose_records
from egtr.visualization import graph_from_annotations


@pytest.fixture
def train(make_cfg):
    """A function from changes of the configuration to what a run of 2 iterations, evaluated after each, leaves."""

    def run(changes: dict) -> EventAccumulator:
        common = {"SOLVER.MAX_ITER": 2, "TEST.EVAL_PERIOD": 1, "TEST.SCENE_GRAPH.VIS_IMAGES": 1}
        cfg = make_cfg(common | changes)
        trainer = EGTRTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()
        events = EventAccumulator(cfg.OUTPUT_DIR, size_guidance={"images": 0, "scalars": 0}).Reload()
        metrics = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
        return events, metrics

    return run


def test_scalars_and_images(train, tiny_dataset):
    events, metrics = train({})
    tags = events.Tags()
    written = {"total_loss", "loss_rel", "loss_connectivity", "uncertainty", "rel_gate_0", "rel_gate_1", "sgdet/R@50"}
    assert written <= set(tags["scalars"])
    # The same numbers as in metrics.json; both writers smooth losses.
    losses = {line["iteration"]: line["total_loss"] for line in metrics if "total_loss" in line}
    assert 1 in losses
    assert {event.step: event.value for event in events.Scalars("total_loss")} == pytest.approx(losses, rel=1e-6)
    recall = {event.step: event.value for event in events.Scalars("sgdet/R@50")}
    assert 2 in recall and all(0 <= value <= 100 for value in recall.values())

    # The image after each of the two evaluations, and its annotations once.
    chosen = [Path(record["file_name"]).stem for record in choose_records(tiny_dataset.val, 1)]
    assert sorted(tags["images"]) == sorted(f"graphs/{stem}{end}" for stem in chosen for end in ("", "_annotated"))
    for stem in chosen:
        predicted = events.Images(f"graphs/{stem}")
        assert [image.step for image in predicted] == [0, 2]
        (annotated,) = events.Images(f"graphs/{stem}_annotated")
        sheets = [np.array(Image.open(io.BytesIO(i.encoded_image_string))) for i in (*predicted, annotated)]
        # 960 points, 72 to the inch, at 80 pixels an inch, cut off.
        assert {sheet.shape[1:] for sheet in sheets} == {(1066, 3)}
        assert not np.array_equal(sheets[0], sheets[2])


@pytest.mark.parametrize("changes", [{"TEST.SCENE_GRAPH.VIS_IMAGES": 0}, {"MODEL.EGTR.RELATION.ENABLED": False}, {}])
def test_when_there_are_images(make_cfg, make_trainer, changes):
    trainer = make_trainer(make_cfg({"TEST.SCENE_GRAPH.VIS_IMAGES": 1} | changes))
    assert (trainer._after_step.images is None) == bool(changes)


def test_an_image_that_cannot_be_read_is_left_out(train, make_tiny_dataset, tiny_dataset, caplog):
    dataset = make_tiny_dataset(num_images=2)
    records = DatasetCatalog.get(dataset.val)
    Path(records[0]["file_name"]).write_text("no image")
    caplog.set_level("WARNING")
    changes = {
        "DATASETS.TEST": (dataset.val,),
        "DATALOADER.SKIP_BROKEN": True,
        "SOLVER.MAX_ITER": 1,
        "TEST.SCENE_GRAPH.VIS_IMAGES": 2,
    }
    events, _ = train(changes)
    stem = Path(records[1]["file_name"]).stem
    assert sorted(events.Tags()["images"]) == [f"graphs/{stem}", f"graphs/{stem}_annotated"]


def test_images_of_one_name_are_shown_apart(tmp_path, monkeypatch):
    """Two folders with an image 1.png each, of different sizes."""
    records = []
    for folder, size in (("a", (40, 30)), ("b", (30, 40))):
        (tmp_path / folder).mkdir()
        Image.new("RGB", size).save(tmp_path / folder / "1.png")
        boxes = [{"bbox": [0, 0, 9, 9], "bbox_mode": 1, "category_id": 0}] * 2
        record = {"file_name": str(tmp_path / folder / "1.png"), "width": size[0], "height": size[1]}
        records.append(record | {"annotations": boxes, "relations": [[0, 1, 0]]})
    graphs = iter([graph_from_annotations(record) for record in records])
    monkeypatch.setattr(graph_images, "choose_records", lambda *_: records)
    monkeypatch.setattr(graph_images, "EGTRPredictor", lambda *_: lambda *_, **__: next(graphs))
    cfg = CfgNode({"DATASETS": {"TEST": ["none"]}, "TEST": {"SCENE_GRAPH": {"VIS_IMAGES": 2}}})
    with EventStorage() as storage:
        graph_images.GraphImages(cfg).draw(None, storage)
    shown = {name: image.shape for name, image, _ in storage._vis_data}
    assert list(shown) == ["graphs/1", "graphs/1_annotated", "graphs/1_2", "graphs/1_2_annotated"]
    assert shown["graphs/1"] == shown["graphs/1_annotated"] != shown["graphs/1_2"] == shown["graphs/1_2_annotated"]


def test_records_are_spread_evenly(tiny_dataset):
    records = DatasetCatalog.get(tiny_dataset.val)
    assert len(records) == 6
    names = [record["file_name"] for record in records]
    # 0 of 3, 1 of 3 and 2 of 3 of the way.
    assert [record["file_name"] for record in choose_records(tiny_dataset.val, 3)] == [names[0], names[2], names[4]]
    assert len(choose_records(tiny_dataset.val, 99)) == 6
