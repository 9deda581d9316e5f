"""Every configuration that comes with EGTR loads, and each model of them trains and evaluates one iteration."""

import json
import math
import re
from functools import cache
from pathlib import Path

import pytest

from egtr.checkpoint import config_from_reference
from egtr.config import load_config
from egtr.engine import EGTRTrainer
from egtr.hub.model_zoo import get_config_file, list_configs
from tests.golden_cases import FOLDER

SMALL_FOLDERS = ("scenes/", "ablations/")
# Configurations whose model is that of another: only weights, schedule or data differ. The other one is trained.
SAME_MODEL = {
    "Base-EGTR.yaml": "vg150_egtr.yaml",
    "Base-OIV6-RTDETR.yaml": "oiv6_rtdetr_egtr.yaml",
    "Base-OIV6.yaml": "oiv6_egtr.yaml",
    "Base-VG150-RTDETR.yaml": "vg150_rtdetr_egtr.yaml",
    "Base-VG150.yaml": "vg150_egtr.yaml",
    "oiv6_detector_finetune.yaml": "oiv6_detector.yaml",
    "oiv6_egtr_finetune.yaml": "oiv6_egtr.yaml",
    "oiv6_rtdetr_finetune.yaml": "oiv6_rtdetr_egtr.yaml",
    "scenes/Base-Scenes.yaml": "scenes/egtr.yaml",
    "scenes/rtdetr.yaml": "scenes/rtdetr_train.yaml",
    "scenes_ablation.yaml": "scenes/egtr_train.yaml",
    "vg150_detector_finetune.yaml": "vg150_detector.yaml",
    "vg150_egtr_finetune.yaml": "vg150_egtr.yaml",
    "vg150_rtdetr_finetune.yaml": "vg150_rtdetr_egtr.yaml",
}
TRAINED = [name for name in list_configs() if name not in SAME_MODEL]
# The whole detector of the paper takes long; vg150_egtr.yaml trains it. A tiny one serves all others that share it.
TINY_DETECTOR = [
    "MODEL.EGTR.BACKBONE.NAME", "resnet10t", "MODEL.EGTR.BACKBONE.CHANNELS", [8, 8, 8, 16],
    "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM", 32, "MODEL.EGTR.TRANSFORMER.ENC_LAYERS", 1,
    "MODEL.EGTR.TRANSFORMER.ENC_FFN_DIM", 32, "MODEL.EGTR.TRANSFORMER.DEC_FFN_DIM", 32,
]  # fmt: skip
ABLATIONS = [name for name in list_configs() if name.startswith("ablations/")]
WITH_TINY_DETECTOR = [
    "oiv6_detector.yaml", "oiv6_egtr.yaml", "photos.yaml", "vg150_detector.yaml", "vg150_egtr_logit_adjustment.yaml",
    "vg150_egtr_one_gpu.yaml", "oiv6_rtdetr_detector.yaml", "oiv6_rtdetr_egtr.yaml", "vg150_rtdetr_detector.yaml",
    "vg150_rtdetr_one_gpu.yaml", "oiv6_rtdetr_one_gpu.yaml", "photos_rtdetr.yaml", "vg150_rtdetr_joint.yaml",
    *ABLATIONS,
]  # fmt: skip


def param(name):
    return pytest.param(name, marks=[] if name.startswith(SMALL_FOLDERS) else pytest.mark.slow)


def test_there_are_configurations():
    names = list_configs()
    assert {"scenes/detector.yaml", "scenes/egtr.yaml", "scenes/egtr_train.yaml", "vg150_egtr.yaml"} <= set(names)


@cache
def load_once(name):
    return load_config(get_config_file(name))


def load(name):
    return load_once(name).clone()


@pytest.mark.parametrize("name", list_configs())
def test_loads(name):
    cfg = load(name)
    assert cfg.MODEL.META_ARCHITECTURE == "EGTR"
    if cfg.MODEL.EGTR.TRANSFORMER.NAME == "RTDETRTransformer" and not name.startswith("scenes"):
        # The weights of its authors take values from 0 to 1. The small one learned from scratch.
        assert (list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)) == ([0.0] * 3, [255.0] * 3)
        return
    # The order of channels and the mean go together: red is the brightest.
    red = {"RGB": 0, "BGR": 2}[cfg.INPUT.FORMAT]
    assert cfg.MODEL.PIXEL_MEAN[red] == pytest.approx(123.675)


@pytest.mark.parametrize(("name", "other"), SAME_MODEL.items())
def test_the_other_one_has_the_same_model(name, other):
    models = []
    for cfg in (load(name), load(other)):
        cfg.MODEL.WEIGHTS, cfg.MODEL.EGTR.BACKBONE.PRETRAINED = "", False
        models.append((str(cfg.MODEL), cfg.INPUT.FORMAT))
    assert models[0] == models[1] and other in TRAINED


@pytest.mark.parametrize("name", [param(name) for name in TRAINED])
def test_trains_one_iteration(name, make_tiny_dataset, tmp_path, without_plot):
    cfg = load(name)
    data = make_tiny_dataset(
        num_images=2, num_classes=cfg.MODEL.EGTR.NUM_CLASSES, num_predicates=cfg.MODEL.EGTR.NUM_PREDICATES
    )
    shipped = cfg.MODEL.WEIGHTS.startswith("egtr://weights/")
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "run"),
        # A fixture dataset, batches of one, small images, 20 queries unless there are weights
        "DATASETS.TRAIN", (data.train,), "DATASETS.TEST", (data.val,),
        "SOLVER.IMS_PER_BATCH", 1, "SOLVER.ACCUMULATE_STEPS", min(cfg.SOLVER.ACCUMULATE_STEPS, 2),
        "SOLVER.MAX_ITER", 1, "DATALOADER.NUM_WORKERS", 0, "TEST.SCENE_GRAPH.VIS_IMAGES", 0,
        "INPUT.MIN_SIZE_TRAIN", (96,), "INPUT.MAX_SIZE_TRAIN", 128,
        "INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 128,
        "MODEL.EGTR.NUM_QUERIES", cfg.MODEL.EGTR.NUM_QUERIES if shipped else 20,
        # No weights of a former step or of a download; shipped weights stay.
        "MODEL.WEIGHTS", cfg.MODEL.WEIGHTS if shipped else "",
        "MODEL.EGTR.BACKBONE.PRETRAINED", False,
        # The fixture's names are others, but heads that are new could not stay frozen.
        "SOLVER.NEW_PARAMETERS", [] if shipped else cfg.SOLVER.NEW_PARAMETERS,
        *(TINY_DETECTOR if name in WITH_TINY_DETECTOR else []),
    ])  # fmt: skip
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert math.isfinite(trainer.storage.latest()["total_loss"][0])
    assert "bbox" in results and ("sgdet" in results) == cfg.MODEL.EGTR.RELATION.ENABLED


def test_recipes_are_the_papers():
    """Epochs times iterations, of 57,723 images of Visual Genome and 126,368 of Open Images."""
    for data, images in (("vg150", 57_723), ("oiv6", 126_368)):
        # Detector: 8 GPUs x 4, 150 and 50 epochs. EGTR: two of these batches a step, 50 and 25 epochs.
        for step, batch, epochs in (("detector", 32, (150, 50)), ("egtr", 64, (50, 25))):
            first, second = (load(f"{data}_{step}{suffix}.yaml") for suffix in ("", "_finetune"))
            for cfg, number in zip((first, second), epochs, strict=True):
                assert cfg.SOLVER.IMS_PER_BATCH * cfg.SOLVER.ACCUMULATE_STEPS == batch
                # Not one image less than the epochs, and less than an epoch more.
                assert 0 <= cfg.SOLVER.MAX_ITER * batch - number * images < images
                assert cfg.SOLVER.STEPS == ()
            assert second.SOLVER.BASE_LR == pytest.approx(first.SOLVER.BASE_LR / 10)
            assert second.MODEL.WEIGHTS == f"{first.OUTPUT_DIR}/model_best.pth"
            # Nothing is fetched from timm that the weights bring anyway.
            assert first.MODEL.EGTR.BACKBONE.PRETRAINED == (step == "detector")
            assert not second.MODEL.EGTR.BACKBONE.PRETRAINED
        egtr = load(f"{data}_egtr.yaml")
        assert egtr.MODEL.WEIGHTS == f"{load(f'{data}_detector_finetune.yaml').OUTPUT_DIR}/model_best.pth"
        rates = [egtr.SOLVER.BASE_LR * factor for factor in (1, egtr.SOLVER.BACKBONE_MULTIPLIER)]
        # The detector's images are cropped before the second resize, EGTR's are not.
        for step, crops, sides in (("detector", True, []), ("egtr", False, [400, 500, 600])):
            for cfg in (load(f"{data}_{step}{suffix}.yaml") for suffix in ("", "_finetune")):
                assert (cfg.INPUT.CROP.ENABLED, list(cfg.INPUT.PRE_RESIZE), cfg.SEED) == (crops, sides, 42)
        assert [*rates, egtr.SOLVER.BASE_LR * egtr.SOLVER.NEW_MULTIPLIER] == pytest.approx([2e-6, 2e-7, 2e-4])
    # The released detector sees images of any number of boxes.
    assert egtr.DATASETS.TRAIN == ("oiv6_train",)
    assert load("oiv6_detector_finetune.yaml").DATASETS.TRAIN == ("oiv6_detector_train",)
    assert egtr.MODEL.EGTR.LOSS.CONNECTIVITY_WEIGHT == 90 and egtr.MODEL.EGTR.LOSS.NON_SAMPLING == "random"


def test_recipes_of_rtdetr_are_those_of_fross():
    """4 GPUs x 3 images x 2 accumulated, 50 and 25 epochs; the detector is the one of its released weights."""
    reference = config_from_reference(json.loads((FOLDER / "rtdetr_r50.json").read_text())["config"])
    for data, images in (("vg150", 57_723), ("oiv6", 126_368)):
        first, second = (load(f"{data}_rtdetr_{step}.yaml") for step in ("egtr", "finetune"))
        detector = load(f"{data}_rtdetr_detector.yaml")
        for cfg, batch, epochs in ((detector, 16, 24), (first, 24, 50), (second, 24, 25)):
            assert cfg.SOLVER.IMS_PER_BATCH * cfg.SOLVER.ACCUMULATE_STEPS == batch
            assert 0 <= cfg.SOLVER.MAX_ITER * batch - epochs * images < batch
            assert cfg.SOLVER.STEPS == ()
        rate, solver = first.SOLVER.BASE_LR, first.SOLVER
        assert [rate, rate * solver.BACKBONE_MULTIPLIER, rate * solver.NEW_MULTIPLIER] == pytest.approx(
            [2e-6, 2e-7, 2e-5]
        )
        assert second.SOLVER.BASE_LR == pytest.approx(rate / 10)
        assert detector.MODEL.WEIGHTS == "egtr://models/rtdetrv2_r50m_coco"
        assert first.MODEL.WEIGHTS == f"{detector.OUTPUT_DIR}/model_best.pth"
        assert second.MODEL.WEIGHTS == f"{first.OUTPUT_DIR}/model_best.pth"
        for cfg in (detector, first):
            ours, theirs = cfg.MODEL.EGTR, reference.MODEL.EGTR
            assert (ours.BACKBONE, ours.TRANSFORMER) == (theirs.BACKBONE, theirs.TRANSFORMER)
            assert (ours.NUM_QUERIES, ours.LOSS.NEGATIVES_PER) == (200, "image")
            assert cfg.MODEL.BACKBONE == reference.MODEL.BACKBONE
    assert load("vg150_rtdetr_egtr.yaml").MODEL.EGTR == reference.MODEL.EGTR
    assert load("oiv6_rtdetr_egtr.yaml").MODEL.EGTR.LOSS.CONNECTIVITY_WEIGHT == 90


def test_recipes_of_rtdetr_take_the_larger_detector_with_the_keys_of_the_readme():
    readme = (Path(get_config_file("vg150_rtdetr_detector.yaml")).parents[1] / "README.md").read_text("utf-8")
    options = re.search(r"\n    (MODEL\.EGTR\.TRANSFORMER\.HYBRID_ENCODER\.EXPANSION .*)\n", readme)[1].split()
    record = json.loads((FOLDER / "rtdetr_r50.json").read_text())["config"]
    large = config_from_reference(record | {"hybrid_encoder_expansion": 1.0, "rt_detr_transformer_eval_idx": -1})
    cfg = load("vg150_rtdetr_detector.yaml")
    cfg.merge_from_list(options)
    assert cfg.MODEL.EGTR.TRANSFORMER == large.MODEL.EGTR.TRANSFORMER
    assert cfg.MODEL.EGTR.BACKBONE == large.MODEL.EGTR.BACKBONE


def test_joint_training_is_the_detector_and_relations_in_one_stage():
    joint, detector, small = (
        load(name) for name in ("vg150_rtdetr_joint.yaml", "vg150_rtdetr_detector.yaml", "scenes/joint.yaml")
    )
    assert joint.MODEL.EGTR.RELATION.ENABLED and not joint.MODEL.EGTR.FREEZE_DETECTOR
    assert joint.MODEL.EGTR.LOSS.CLASS_LOSS == "varifocal" and joint.MODEL.EGTR.AUX_LOSS
    for key in ("FREQUENCY_BIAS", "FREQUENCY_BIAS_EPS"):
        assert joint.MODEL.EGTR.RELATION[key] == small.MODEL.EGTR.RELATION[key]
    assert joint.MODEL.EGTR.DENOISING == small.MODEL.EGTR.DENOISING
    for key in ("REL_WEIGHT", "CONNECTIVITY_WEIGHT"):
        assert joint.MODEL.EGTR.LOSS[key] == small.MODEL.EGTR.LOSS[key]
    # All else is the detector's.
    for key in ("TRANSFORMER", "BACKBONE", "MATCHER", "NUM_QUERIES"):
        assert joint.MODEL.EGTR[key] == detector.MODEL.EGTR[key]
    assert (joint.MODEL.WEIGHTS, joint.INPUT, joint.DATASETS) == (
        detector.MODEL.WEIGHTS,
        detector.INPUT,
        detector.DATASETS,
    )
    joint.SOLVER.NEW_MULTIPLIER = detector.SOLVER.NEW_MULTIPLIER
    assert joint.SOLVER == detector.SOLVER


@pytest.mark.parametrize("data", ["vg150", "oiv6"])
def test_one_gpu_takes_the_steps_of_four(data):
    one, four = load(f"{data}_rtdetr_one_gpu.yaml"), load(f"{data}_rtdetr_egtr.yaml")
    assert one.SOLVER.IMS_PER_BATCH * one.SOLVER.ACCUMULATE_STEPS == 24
    assert one.MODEL.EGTR.FREEZE_DETECTOR and one.SOLVER.AMP.ENABLED
    one.MODEL.EGTR.FREEZE_DETECTOR = False
    assert one.MODEL == four.MODEL and one.DATASETS == four.DATASETS
    for key in ("BASE_LR", "BACKBONE_MULTIPLIER", "NEW_MULTIPLIER", "MAX_ITER"):
        assert one.SOLVER[key] == four.SOLVER[key]


def test_one_gpu_takes_the_steps_of_eight():
    one, eight = load("vg150_egtr_one_gpu.yaml").SOLVER, load("vg150_egtr.yaml").SOLVER
    assert one.IMS_PER_BATCH * one.ACCUMULATE_STEPS == eight.IMS_PER_BATCH * eight.ACCUMULATE_STEPS
    assert (one.BASE_LR, one.MAX_ITER) == (eight.BASE_LR, eight.MAX_ITER) and one.AMP.ENABLED


def test_photographs_go_on_from_the_released_model_at_the_rates_of_its_stage():
    cfg, paper = load("photos.yaml"), load("vg150_egtr.yaml")
    assert cfg.MODEL.WEIGHTS == "egtr://models/vg150"
    for key in ("BASE_LR", "BACKBONE_MULTIPLIER", "NEW_MULTIPLIER", "WEIGHT_DECAY"):
        assert cfg.SOLVER[key] == paper.SOLVER[key]
    assert cfg.INPUT == paper.INPUT and cfg.SOLVER.NEW_PARAMETERS == ["auto", "relation."]
    assert [row[0] for row in cfg.DATASETS.REGISTER] == ["photos_train", "photos_val", "photos_test"]
    # The model is that of Visual Genome but for the numbers of labels.
    for cfg_ in (cfg, paper):
        cfg_.MODEL.WEIGHTS, cfg_.MODEL.EGTR.NUM_CLASSES, cfg_.MODEL.EGTR.NUM_PREDICATES = "", 1, 1
    assert cfg.MODEL == paper.MODEL


def test_photographs_on_rtdetr_have_the_detector_that_they_start_from():
    cfg, detector, photos = (load(f"{name}.yaml") for name in ("photos_rtdetr", "vg150_rtdetr_detector", "photos"))
    assert cfg.MODEL.WEIGHTS == detector.MODEL.WEIGHTS == "egtr://models/rtdetrv2_r50m_coco"
    assert cfg.MODEL.BACKBONE == detector.MODEL.BACKBONE and cfg.INPUT == detector.INPUT
    for key in ("BACKBONE", "TRANSFORMER", "AUX_LOSS", "WITH_BOX_REFINE"):
        assert cfg.MODEL.EGTR[key] == detector.MODEL.EGTR[key]
    # Relations and the detector's own losses, in one stage.
    assert cfg.MODEL.EGTR.RELATION.ENABLED and not cfg.MODEL.EGTR.FREEZE_DETECTOR
    assert cfg.MODEL.EGTR.DENOISING.ENABLED and cfg.MODEL.EGTR.LOSS.CLASS_LOSS == "varifocal"
    # The lines that users change are those of photos.yaml.
    assert cfg.DATASETS == photos.DATASETS and cfg.SOLVER.MAX_ITER == photos.SOLVER.MAX_ITER
    for each in (cfg, photos):
        assert each.SOLVER.IMS_PER_BATCH * each.SOLVER.ACCUMULATE_STEPS == 8


def test_every_ablation_is_the_base_but_for_its_own_keys():
    base = load("vg150_egtr.yaml")
    models = {}
    for name in ABLATIONS:
        cfg = load(name)
        models[name] = str(cfg.MODEL.EGTR)
        assert cfg.OUTPUT_DIR == f"output/vg150/{name.removesuffix('.yaml')}"
        cfg.OUTPUT_DIR, cfg.MODEL.EGTR = base.OUTPUT_DIR, base.MODEL.EGTR
        assert cfg == base
    assert str(base.MODEL.EGTR) not in models.values() and len(set(models.values())) == len(ABLATIONS) > 15
