"""Released folders: converted from disk to disk they compute what was recorded; what does not fit is refused."""

import argparse
import json
import logging
import os
import pathlib
import sys
import types

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import save_file

from egtr.checkpoint import EGTRCheckpointer, artifact, convert_artifact, load_reference, read_names
from egtr.cli import main
from egtr.config import load_config
from egtr.inference import EGTRPredictor
from egtr.structures import DataError, EGTRError, ModelInfo
from tests.checkpoint.artifacts import write_artifact
from tests.golden_cases import SMALL, GoldenCase
from tests.modeling import test_golden as golden

RELATION = ("triplet_dist", "rel_dist", "proj_q", "proj_k", "final_", "rel_predictor", "connectivity")


@pytest.fixture(scope="module")
def case():
    return GoldenCase("small")


@pytest.fixture(scope="module", autouse=True)
def build_each_model_once():
    """The shapes of a model, which is built for them, are the same for the same configuration."""
    found, shapes = {}, artifact._shapes

    def remember(cfg):
        key = cfg.dump()
        if key not in found:
            found[key] = shapes(cfg)
        return dict(found[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "_shapes", remember)
        yield


@pytest.fixture
def detector(case):
    """Settings and weights of the released detector: config.json speaks of relations, the weights do not."""
    weights = {n: v for n, v in case.reference_state_dict.items() if not n.startswith(RELATION)}
    return case.record["config"], weights


@pytest.mark.parametrize(
    "name",
    [n if n == "small" else pytest.param(n, marks=pytest.mark.slow) for n in [*SMALL, "vg"]],
)
def test_recorded_models_from_disk_to_disk(name, tmp_path):
    case = GoldenCase(name)
    write_artifact(tmp_path / "artifact", case.record["config"], case.reference_state_dict)
    done = convert_artifact(tmp_path / "artifact", tmp_path / "converted")
    for weights in (done.checkpoint, done.safetensors):
        cfg = load_config(str(done.config_file), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(weights)])
        case.model = build_model(cfg)
        checkpointer = EGTRCheckpointer(case.model)
        checkpointer.load(cfg.MODEL.WEIGHTS)
        assert not checkpointer.incompatible.missing_keys and not checkpointer.incompatible.unexpected_keys
        golden.test_outputs(case)
    golden.test_losses_in_evaluation_mode(case)
    golden.test_losses_and_gradients_in_training_mode(case)


def test_the_configuration_is_complete(case, tmp_path):
    """It says where the weights are, from any folder, and how the released model is trained further."""
    write_artifact(tmp_path / "artifact", case.record["config"], case.reference_state_dict)
    done = convert_artifact(tmp_path / "artifact", tmp_path / "converted")
    cfg = load_config(str(done.config_file), ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "40"])
    assert os.path.isabs(cfg.MODEL.WEIGHTS) and os.path.samefile(cfg.MODEL.WEIGHTS, done.checkpoint)
    # The paper's rates of EGTR training: 2e-6, and 2e-4 for new layers.
    assert cfg.SOLVER.BASE_LR == 2e-6 and cfg.SOLVER.NEW_MULTIPLIER == 100
    graph = EGTRPredictor(cfg)(np.zeros((40, 60, 3), np.uint8), "RGB")
    assert graph.class_names is None and graph.predicate_names is None


def test_the_highest_epoch_is_taken(case, tmp_path):
    """As a number: 9 is less than 10."""
    weights = case.reference_state_dict
    for epoch in (9, 10):
        weights = {**weights, "model.level_embed": torch.full_like(weights["model.level_embed"], epoch)}
        write_artifact(tmp_path, case.record["config"], weights, epoch)
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"not looked at")
    _, state_dict = load_reference(tmp_path)
    assert (state_dict["transformer.level_embed"] == 10).all()
    (tmp_path / "checkpoints/epoch=10-validation_loss=1.25-v1.ckpt").touch()
    with pytest.raises(EGTRError, match=r"epoch=10-validation_loss=1.25-v1.ckpt and .* are of the same epoch"):
        load_reference(tmp_path)


def test_a_detector_alone(detector, tmp_path):
    write_artifact(tmp_path, *detector)
    cfg, state_dict = load_reference(tmp_path)
    cfg.MODEL.DEVICE = "cpu"
    assert not cfg.MODEL.EGTR.RELATION.ENABLED and cfg.SOLVER.BASE_LR == 1e-4
    build_model(cfg).load_state_dict(state_dict, strict=True)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_hugging_face_folder(case, detector, file, tmp_path):
    config, weights = detector
    names = ["person", "tree", "kite", *"abcdefgh"]
    config = {key: value for key, value in config.items() if key not in ("num_labels", "num_rel_labels")}
    config["id2label"] = dict(enumerate(names))
    (tmp_path / "config.json").write_text(json.dumps(config))
    save = save_file if file.endswith("safetensors") else torch.save
    save({name: value.clone() for name, value in weights.items()}, tmp_path / file)
    cfg, state_dict = load_reference(tmp_path)
    assert cfg.MODEL.EGTR.CLASS_NAMES == names and cfg.MODEL.EGTR.NUM_CLASSES == 11
    for name, value in case.model.state_dict().items():
        if not name.startswith("relation."):
            torch.testing.assert_close(state_dict.pop(name), value, rtol=0, atol=0)
    assert not state_dict


def test_names_of_transformers_5(detector, tmp_path):
    """Return the content of ``torch.save(model.state_dict())``; all norms are frozen, so nothing counts batches."""
    config, weights = detector

    def rename(name):
        name = name.replace("backbone.conv_encoder.model.", "backbone.model.")
        name = name.replace(".self_attn.out_proj.", ".self_attn.o_proj.")
        return name.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2.")

    write_artifact(tmp_path / "old", config, weights)
    new = {rename(n): v for n, v in weights.items() if not n.endswith("num_batches_tracked")}
    write_artifact(tmp_path / "new", config, new)
    old_cfg, old = load_reference(tmp_path / "old")
    new_cfg, new = load_reference(tmp_path / "new")
    assert new.keys() == {name for name in old if not name.endswith("num_batches_tracked")}
    assert not old_cfg.MODEL.EGTR.BACKBONE.FREEZE_DOWNSAMPLE_NORM
    assert new_cfg.MODEL.EGTR.BACKBONE.FREEZE_DOWNSAMPLE_NORM


def test_what_does_not_fit_is_listed_and_refused(case, tmp_path, caplog):
    weights = dict(case.reference_state_dict)
    del weights["proj_q.1.bias"], weights["model.level_embed"]
    weights["surprise.weight"] = weights["proj_k.7.weight"] = torch.zeros(2)
    weights["rel_dist"] = torch.zeros(9)
    write_artifact(tmp_path, case.record["config"], weights)
    with pytest.raises(EGTRError) as error:
        load_reference(tmp_path)
    lines = [
        "no EGTR or Deformable DETR checkpoint has: model.surprise.weight",
        "the model that config.json describes has no: relation.source.key_proj.7.weight",
        "the file lacks: transformer.level_embed, relation.source.query_proj.1.bias",
        "another shape of: relation.frequency_bias.predicate_frequency (9,), not (7,)",
    ]
    for line in lines:
        assert line in str(error.value)
    assert "--allow-mismatch" in str(error.value)
    with caplog.at_level(logging.WARNING):
        cfg, state_dict = load_reference(tmp_path, strict=False)
    assert all(line in caplog.text for line in lines)
    cfg.MODEL.DEVICE = "cpu"
    incompatible = build_model(cfg).load_state_dict(state_dict, strict=False)
    assert not incompatible.unexpected_keys
    assert incompatible.missing_keys == [
        "transformer.level_embed",
        "relation.source.query_proj.1.bias",
        "relation.frequency_bias.predicate_frequency",
    ]


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_runs_code_is_refused(case, tmp_path):
    """A real one: reading it makes a folder. It is read only by who asks for it."""
    made = tmp_path / "made by the checkpoint"
    write_artifact(tmp_path, case.record["config"], case.reference_state_dict, hyper_parameters=Malicious(made))
    with pytest.raises(EGTRError, match=rf"holds more than weights: {os.mkdir.__module__}\.mkdir.*--unsafe-pickle"):
        load_reference(tmp_path)
    assert not made.exists()
    load_reference(tmp_path, unsafe_pickle=True)
    assert made.is_dir()


def test_files_of_old_versions_of_torch_are_refused_in_the_same_words(case, tmp_path):
    checkpoint = write_artifact(tmp_path, case.record["config"], case.reference_state_dict)
    made = tmp_path / "made by the checkpoint"
    torch.save({"state_dict": Malicious(made)}, checkpoint, _use_new_zipfile_serialization=False)
    with pytest.raises(EGTRError, match=rf"holds more than weights: [^.]* {os.mkdir.__module__}\.mkdir "):
        load_reference(tmp_path)
    assert not made.exists()


def test_a_folder_that_cannot_be_made(case, tmp_path):
    write_artifact(tmp_path, case.record["config"], case.reference_state_dict)
    (tmp_path / "file").touch()
    with pytest.raises(EGTRError, match=r"file: cannot be made \(File exists\).*--output"):
        convert_artifact(tmp_path, tmp_path / "file")


@pytest.fixture
def lightning(monkeypatch):
    """Modules named like Lightning's, so that objects can be pickled under those names; gone before reading."""
    made = {}
    for name, base in (
        ("pytorch_lightning.utilities.parsing.AttributeDict", dict),
        ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", object),
    ):
        module, _, attribute = name.rpartition(".")
        cls = type(attribute, (base,), {"__module__": module})
        parts = module.split(".")
        for k in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:k]), types.ModuleType(".".join(parts[:k])))
        setattr(sys.modules[module], attribute, cls)
        made[attribute] = cls
    return made


def test_what_lightning_adds_is_harmless(case, tmp_path, lightning, monkeypatch):
    extras = {
        "hyper_parameters": lightning["AttributeDict"](lr=1e-4, args=argparse.Namespace(gpus=8)),
        "callbacks": {
            lightning["ModelCheckpoint"]: {"best_model_score": np.float64(1.25), "dirpath": pathlib.Path("/a/b")},
            "EarlyStopping": {"best_score": torch.tensor(1.25), "patience": np.int64(15)},
        },
        "lr_schedulers": [{"base_lrs": [1e-4], "last_epoch": 3}],
    }
    write_artifact(tmp_path, case.record["config"], case.reference_state_dict, **extras)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytorch_lightning"]:
        monkeypatch.delitem(sys.modules, name)
    _, state_dict = load_reference(tmp_path)
    assert state_dict.keys() == case.model.state_dict().keys()


def test_an_object_of_an_absent_package_is_named(case, tmp_path, monkeypatch):
    module = types.ModuleType("no_such_package")
    module.Thing = type("Thing", (), {"__module__": "no_such_package"})
    monkeypatch.setitem(sys.modules, "no_such_package", module)
    write_artifact(tmp_path, case.record["config"], case.reference_state_dict, thing=module.Thing())
    monkeypatch.delitem(sys.modules, "no_such_package")
    with pytest.raises(EGTRError, match=r"holds more than weights: no_such_package\.Thing"):
        load_reference(tmp_path)
    with pytest.raises(EGTRError, match="a package that is not installed.*no_such_package"):
        load_reference(tmp_path, unsafe_pickle=True)


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda folder, checkpoint: checkpoint.unlink(), "has neither checkpoints/epoch="),
    (lambda folder, checkpoint: checkpoint.write_bytes(checkpoint.read_bytes()[:5000]), "the file is damaged"),
    (lambda folder, checkpoint: torch.save({"state_dict": [1]}, checkpoint), "holds no weights"),
    (lambda folder, checkpoint: torch.save({"state_dict": {1: torch.ones(1)}}, checkpoint), "holds no weights"),
    # The page that a browser keeps in place of the file that is not there; to read it unsafely would not help.
    (lambda folder, checkpoint: checkpoint.write_text("<html>404"), r"is a web page \(HTML\), not weights"),
    (lambda folder, checkpoint: checkpoint.write_text("version https://git-lfs"), "a Git LFS pointer"),
    (lambda folder, checkpoint: (folder / "config.json").write_text("{}"), ": config.json: 'num_queries' is missing"),
    (lambda folder, checkpoint: (folder / "config.json").unlink(), "config.json: cannot be read"),
    (lambda folder, checkpoint: (folder / "config.json").write_text("{"), "config.json: not a JSON file"),
    (lambda folder, checkpoint: (folder / "config.json").write_text("[]"), "config.json: holds a list"),
])  # fmt: skip
def test_broken_folders_give_one_line(case, tmp_path, break_it, message):
    checkpoint = write_artifact(tmp_path, case.record["config"], case.reference_state_dict)
    break_it(tmp_path, checkpoint)
    with pytest.raises(EGTRError, match=message):
        load_reference(tmp_path)


@pytest.fixture
def vg_files(tmp_path):
    """11 class names and 7 predicate names, as datasets bring them; the two that disagree are told apart."""
    classes, predicates = [f"c{k}" for k in range(11)], [f"p{k}" for k in range(7)]
    contents = {
        "rel.json": {"rel_categories": ["__background__", *predicates], "train": {}},
        "train.json": {"categories": [{"id": k + 1, "name": name} for k, name in enumerate(classes)]},
        "VG-SGG-dicts.json": {
            "idx_to_label": {str(k + 1): name for k, name in enumerate(classes)},
            "idx_to_predicate": {str(k + 1): name for k, name in enumerate(predicates)},
        },
        "categories_dict.json": {"obj": classes, "rel": predicates},
        "coco_sg.json": {
            "categories": [{"id": 3 * k, "name": name} for k, name in enumerate(classes)],
            # By number, not by place.
            "rel_categories": [{"id": k + 5, "name": name} for k, name in enumerate(predicates)][::-1],
        },
        "psg.json": {"thing_classes": classes[:4], "stuff_classes": classes[4:], "predicate_classes": predicates},
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return classes, predicates


@pytest.mark.parametrize(
    "files",
    [["rel.json", "train.json"], ["VG-SGG-dicts.json"], ["categories_dict.json"], ["coco_sg.json"], ["psg.json"]],
    ids=str,
)
def test_names_in_the_files_of_data_sets(tmp_path, vg_files, files):
    assert read_names([tmp_path / file for file in files]) == vg_files
    assert read_names([]) == (None, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"categories": 5}, '"categories"'),
        ({"categories": [5]}, '"categories"'),
        ({"categories": [{"id": 1}]}, '"name"'),
        ({"rel_categories": [{"id": 1, "name": "on"}, 5]}, '"rel_categories"'),
        ({"rel_categories": {"on": 1}}, '"rel_categories"'),
        ({"predicate_classes": ["on"]}, '"thing_classes"'),
        ([], "names neither classes nor predicates"),
    ],
    ids=str,
)
def test_files_without_names_are_one_error(tmp_path, content, words):
    (tmp_path / "names.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"names.json.*{words}"):
        read_names([tmp_path / "names.json"])


def test_names_travel_in_the_configuration(case, tmp_path, vg_files):
    files = ["rel.json", "train.json"]
    write_artifact(tmp_path / "artifact", case.record["config"], case.reference_state_dict)
    done = convert_artifact(
        tmp_path / "artifact", tmp_path / "converted", names_files=[tmp_path / file for file in files]
    )
    predict = EGTRPredictor.from_config_file(
        str(done.config_file), ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "40"]
    )
    graph = predict(np.zeros((40, 60, 3), np.uint8), "RGB")
    assert (list(graph.class_names), list(graph.predicate_names)) == vg_files
    assert "p" in str(graph) and "c" in str(graph)


def test_names_of_a_data_set(case, tmp_path, make_tiny_dataset):
    dataset = make_tiny_dataset(num_images=1, num_classes=11, num_predicates=7)
    write_artifact(tmp_path / "artifact", case.record["config"], case.reference_state_dict)
    done = convert_artifact(tmp_path / "artifact", tmp_path / "converted", dataset=dataset.val)
    assert tuple(done.class_names) == dataset.thing_classes
    assert tuple(done.predicate_names) == dataset.predicate_classes
    assert load_config(str(done.config_file)).DATASETS.TEST == (dataset.val,)


def test_names_that_are_not_enough(case, tmp_path, tiny_dataset):
    write_artifact(tmp_path / "artifact", case.record["config"], case.reference_state_dict)
    with pytest.raises(EGTRError, match="names 5 classes, but the model has 11"):
        convert_artifact(tmp_path / "artifact", tmp_path / "converted", dataset=tiny_dataset.val)
    assert not (tmp_path / "converted").exists()
    with pytest.raises(EGTRError, match="config.json: names neither classes nor predicates"):
        convert_artifact(
            tmp_path / "artifact", tmp_path / "converted", names_files=[tmp_path / "artifact/config.json"]
        )


def write_numbered(folder, case, classes, predicates, **changes):
    """An artifact with other numbers of classes and predicates; only its names are looked at."""
    config = case.record["config"] | {"num_labels": classes, "num_rel_labels": predicates} | changes
    write_artifact(folder, config, case.reference_state_dict)
    return folder


@pytest.mark.parametrize(
    ("classes", "predicates", "changes", "named"),
    [
        (150, 50, {}, True),
        (150, 50, {"id2label": {str(index): f"LABEL_{index}" for index in range(150)}}, True),
        (150, 51, {}, False),
        (149, 50, {}, False),
        (150, 50, {"id2label": {str(index): f"my class {index}" for index in range(150)}}, False),
    ],
)
def test_models_of_visual_genome_get_its_names(case, tmp_path, classes, predicates, changes, named):
    write_numbered(tmp_path / "a", case, classes, predicates, **changes)
    done = convert_artifact(tmp_path / "a", tmp_path / "made", strict=False)
    assert (done.predicate_names[:1] == ["above"]) == named
    assert (done.class_names[:1] == ["airplane"]) == named
    info = ModelInfo.load(done.info_file)
    assert info.class_names == (tuple(done.class_names) or None)
    assert info.predicate_names == (tuple(done.predicate_names) or None)


def test_lists_of_names_that_ship(case, tmp_path):
    write_numbered(tmp_path / "a", case, 80, 7)
    done = convert_artifact(tmp_path / "a", tmp_path / "made", names_files=["coco"], strict=False)
    assert done.class_names[0] == "person" and len(done.class_names) == 80 and not done.predicate_names
    with pytest.raises(EGTRError, match="vg150: names 150 classes, but the model has 80"):
        convert_artifact(tmp_path / "a", tmp_path / "made", names_files=["vg150"], strict=False)
    classes, predicates = read_names(["vg150"])
    assert (len(classes), len(predicates)) == (150, 50) and (classes[39], predicates[30]) == ("ear", "on")
    assert read_names(["vg150", "coco"])[0][79] == "toothbrush"


def test_the_record_goes_into_the_metadata_and_on_through_exports(case, tmp_path):
    write_artifact(tmp_path / "a", case.record["config"], case.reference_state_dict)
    info = ModelInfo(domain="photographs", licence="not stated", unknown={"colour": "blue"})
    done = convert_artifact(tmp_path / "a", tmp_path / "made", info=info)
    written = ModelInfo.load(done.info_file)
    assert (written.domain, written.unknown) == ("photographs", {"colour": "blue"})
    assert written.preprocessing["pixel_mean"] == [123.675, 116.28, 103.53]
    assert main(["export", str(done.checkpoint), "--output", str(tmp_path / "small.safetensors"), "--half"]) == 0
    done.info_file.unlink()
    for path in (done.safetensors, tmp_path / "small.safetensors"):
        assert ModelInfo.find(path) == written
