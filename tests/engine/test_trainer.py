"""Whole runs of the real model, made tiny."""

import itertools
import json
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import timm
import torch
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from egtr.checkpoint import EGTRCheckpointer, export_weights, load_checkpoint_file
from egtr.config import egtr_argument_parser
from egtr.data import build_triplet_counts
from egtr.engine import EGTRTrainer, train_or_evaluate
from egtr.engine.best_weights import best_metric
from egtr.evaluation import read_meta
from egtr.modeling.relation import FrequencyBias
from egtr.structures import EGTRError
from tests.engine.stub import STUB

DETECTOR = {"MODEL.EGTR.RELATION.ENABLED": False}


class SameBatchTrainer(EGTRTrainer):
    """Sees one and the same batch in every step: where a run is cut does not change what it sees."""

    @classmethod
    def build_train_loader(cls, cfg):
        seed_all_rng(0)
        batch = next(iter(super().build_train_loader(cfg)))
        return itertools.repeat(batch)


class Recorder(HookBase):
    """Losses of the steps; ``kill_at`` ends the run before that iteration, as a power cut would."""

    def __init__(self, kill_at: int | None = None):
        self.losses: dict[int, float] = {}
        self.kill_at = kill_at

    def before_step(self):
        if self.trainer.iter == self.kill_at:
            raise KeyboardInterrupt

    def after_step(self):
        self.losses[self.trainer.iter] = self.trainer.storage.latest()["total_loss"][0]


def run(cfg, resume: bool = False, kill_at: int | None = None, trainer_class=EGTRTrainer):
    trainer = trainer_class(cfg)
    trainer.resume_or_load(resume=resume)
    recorder = Recorder(kill_at)
    trainer.register_hooks([recorder])
    if kill_at is None:
        trainer.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return trainer, recorder.losses


def group_rates(trainer: EGTRTrainer) -> dict[str, float]:
    return {group["name"]: group["initial_lr"] for group in trainer.optimizer.param_groups}


def detector_weights(make_cfg, path: Path, changes: dict | None = None) -> str:
    """Weights of a detector without relation part."""
    cfg = make_cfg(DETECTOR | (changes or {}))
    export_weights(build_model(cfg), path)
    return str(path)


def table_of(cfg) -> torch.Tensor:
    """The frequency table for the training set of ``cfg``."""
    bias = FrequencyBias(cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES)
    bias.set_counts(torch.from_numpy(build_triplet_counts(cfg).dense()))
    return bias.table


def test_resumed_run_goes_on_as_if_never_interrupted(make_cfg, tmp_path):
    changes = {"SOLVER.MAX_ITER": 4, "SOLVER.STEPS": (2,), "SOLVER.CHECKPOINT_PERIOD": 2, "DATASETS.TEST": ()}
    whole, expected = run(make_cfg(changes | {"OUTPUT_DIR": str(tmp_path / "whole")}), trainer_class=SameBatchTrainer)
    cfg = make_cfg(changes)
    run(cfg, kill_at=3, trainer_class=SameBatchTrainer)
    # Saved after iteration 1; the rate drops at iteration 2. The generator stands elsewhere on purpose.
    seed_all_rng(99)
    resumed, losses = run(cfg, resume=True, trainer_class=SameBatchTrainer)
    assert sorted(losses) == [2, 3]
    assert losses == pytest.approx({k: expected[k] for k in losses}, rel=1e-5)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert expected[3] < expected[0]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.json").read_text().splitlines()]
    assert {"total_loss", "loss_ce", "loss_rel", "grad_norm", "uncertainty", "rel_gate_0", "lr"} <= set(lines[-1])


def test_new_parameters_are_settled_by_weights_and_survive_resume(make_cfg, tmp_path):
    weights = detector_weights(make_cfg, tmp_path / "detector.safetensors")
    cfg = make_cfg({"MODEL.WEIGHTS": weights, "SOLVER.CHECKPOINT_PERIOD": 1, "DATASETS.TEST": ()})
    trainer, _ = run(cfg, kill_at=1)
    relation = [name for name, _ in trainer.bare_model.named_parameters() if name.startswith("relation.")]
    assert relation and trainer.new_parameters == relation
    # BASE_LR 1e-3, BACKBONE_MULTIPLIER 0.1, NEW_MULTIPLIER 4
    assert group_rates(trainer) == pytest.approx({"base": 1e-3, "backbone": 1e-4, "new": 4e-3})

    Path(weights).unlink()  # A resumed run has no use for the initial weights.
    resumed, losses = run(cfg, resume=True)
    assert sorted(losses) == [1]
    assert resumed.new_parameters == relation
    assert group_rates(resumed) == group_rates(trainer)


def test_declared_parameters_learn_at_the_rate_of_new_ones(make_cfg, make_trainer, tmp_path):
    cfg = make_cfg({"SOLVER.NEW_PARAMETERS": ["relation.", "transformer.query_embed"]})
    whole = make_trainer(cfg).bare_model
    export_weights(whole, tmp_path / "whole.safetensors")
    cfg.MODEL.WEIGHTS = str(tmp_path / "whole.safetensors")
    trainer = make_trainer(cfg)
    trainer.resume_or_load(resume=False)
    # The file brings them all.
    wanted = [
        name for name, _ in whole.named_parameters() if name.startswith(("relation.", "transformer.query_embed"))
    ]
    assert sorted(trainer.new_parameters) == sorted(wanted)
    assert group_rates(trainer) == pytest.approx({"base": 1e-3, "backbone": 1e-4, "new": 4e-3})

    cfg.SOLVER.NEW_PARAMETERS = ["relations."]
    with pytest.raises(EGTRError, match="SOLVER.NEW_PARAMETERS: no trained parameter begins with 'relations.'"):
        make_trainer(cfg).resume_or_load(resume=False)


def test_the_log_states_the_effective_batch(make_cfg, caplog):
    with caplog.at_level("INFO", logger="egtr"):
        run(make_cfg({"SOLVER.ACCUMULATE_STEPS": 3, "SOLVER.MAX_ITER": 1, "DATASETS.TEST": ()} | STUB))
    expected = "Effective batch 6 = SOLVER.IMS_PER_BATCH 2 x SOLVER.ACCUMULATE_STEPS 3, over 1 process(es)"
    assert expected in caplog.messages


def test_resume_with_other_trainable_parameters_is_refused(make_cfg, make_trainer):
    changes = STUB | {"DATASETS.TEST": (), "SOLVER.CHECKPOINT_PERIOD": 1}
    run(make_cfg(changes), kill_at=1)
    trainer = make_trainer(make_cfg(changes | {"SOLVER.LR_MULTIPLIERS": [["backbone.*", 0]]}))
    with pytest.raises(EGTRError, match="--resume: the last checkpoint .* its optimizer has the groups .*OUTPUT_DIR"):
        trainer.resume_or_load(resume=True)


def test_weights_of_another_shape_are_new(make_cfg, make_trainer, tmp_path):
    weights = detector_weights(make_cfg, tmp_path / "detector.pth", {"MODEL.EGTR.NUM_CLASSES": 9})
    trainer = make_trainer(make_cfg({"MODEL.WEIGHTS": weights} | DETECTOR))
    trainer.resume_or_load(resume=False)
    shapes = {name: tuple(p.shape) for name, p in trainer.bare_model.named_parameters()}
    # Only the class head depends on the number of classes: 5 rows where the file has 9.
    assert sorted(shapes[name] for name in trainer.new_parameters) == [(5,), (5, 32)]


def test_nothing_is_new_on_top_of_only_a_backbone(make_cfg, make_trainer, tmp_path, caplog):
    """Pre-training from a file has the rates of pre-training from timm's weights: sampling offsets at the low one."""
    backbone = make_trainer(make_cfg()).bare_model.backbone.state_dict()
    weights = tmp_path / "backbone.safetensors"
    export_weights({f"backbone.{name}": value for name, value in backbone.items()}, weights)
    trainer = make_trainer(make_cfg({"MODEL.WEIGHTS": str(weights)} | DETECTOR))
    with caplog.at_level("INFO", logger="egtr"):
        trainer.resume_or_load(resume=False)
    assert trainer.new_parameters == [] and "brings only a backbone" in caplog.text
    assert group_rates(trainer) == pytest.approx({"base": 1e-3, "backbone": 1e-4})


def test_nothing_is_new_from_scratch(make_cfg, make_trainer):
    trainer = make_trainer(make_cfg())
    trainer.resume_or_load(resume=True)  # there is nothing to resume from
    assert trainer.new_parameters == [] and trainer.start_iter == 0
    assert set(group_rates(trainer)) == {"base", "backbone"}


def test_frequency_table_of_start_resume_and_evaluation(make_cfg, make_tiny_dataset, tmp_path):
    other = make_tiny_dataset(seed=5)
    first_cfg = make_cfg({"DATASETS.TEST": (), "SOLVER.CHECKPOINT_PERIOD": 1})
    elsewhere = {"DATASETS.TRAIN": (other.train,), "DATASETS.TEST": ()}
    first_table, other_table = table_of(first_cfg), table_of(make_cfg(elsewhere))
    assert not torch.equal(first_table, other_table)

    first, _ = run(first_cfg, kill_at=1)
    assert torch.equal(first.model.relation.frequency_bias.table, first_table)
    # A run that resumes keeps its table, even where the configuration names other data.
    resumed, _ = run(make_cfg(elsewhere), resume=True)
    assert torch.equal(resumed.model.relation.frequency_bias.table, first_table)
    # A run that starts from these weights on other data counts again.
    weights = str(tmp_path / "run/model_final.pth")
    changes = elsewhere | {"MODEL.WEIGHTS": weights, "OUTPUT_DIR": str(tmp_path / "second"), "SOLVER.MAX_ITER": 1}
    second, _ = run(make_cfg(changes))
    assert second.new_parameters == []
    assert torch.equal(second.model.relation.frequency_bias.table, other_table)
    # Evaluation loads and counts nothing.
    model = build_model(make_cfg(elsewhere))
    EGTRCheckpointer(model).load(weights)
    assert torch.equal(model.relation.frequency_bias.table, first_table)


def test_best_checkpoint_is_kept(make_cfg, tmp_path):
    scores = iter([10.0, 30.0, 20.0, math.nan])
    seen = []

    class Scored(EGTRTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return {"sgdet": {"R@50": next(scores)}}

    cfg = make_cfg(STUB | {"SOLVER.MAX_ITER": 4, "TEST.EVAL_PERIOD": 1, "SOLVER.CHECKPOINT_PERIOD": 2})
    trainer, _ = run(cfg, trainer_class=Scored)
    best = load_checkpoint_file(str(tmp_path / "run/model_best.pth"))
    assert (best["iteration"], best["metric"], best["score"]) == (1, "sgdet/R@50", 30.0)
    assert "trainer" not in best
    for name, tensor in seen[1].items():
        assert torch.equal(best["model"][name], tensor)
    assert Path(trainer.checkpointer.get_checkpoint_file()).name == "model_final.pth"

    # A resumed run competes with 30, not with nothing. It begins with the evaluation after iteration 3, which a run
    # of six iterations has, too.
    scores = iter([29.0, 28.0, 31.0])
    cfg = make_cfg(STUB | {"SOLVER.MAX_ITER": 6, "TEST.EVAL_PERIOD": 1})
    run(cfg, resume=True, trainer_class=Scored)
    best = load_checkpoint_file(str(tmp_path / "run/model_best.pth"))
    assert (best["iteration"], best["score"]) == (5, 31.0)


def test_best_metric_that_is_not_there_is_reported(make_cfg, caplog):
    cfg = make_cfg({"SOLVER.MAX_ITER": 1} | DETECTOR | {"TEST.BEST_METRIC": "bbox/AP51"})
    trainer, _ = run(cfg)
    assert "'bbox/AP51' is not among the results" in caplog.text and "bbox/AP50" in caplog.text
    assert not Path(cfg.OUTPUT_DIR, "model_best.pth").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"TEST.SCENE_GRAPH.PROTOCOLS": ["motifs", "house"]},
            "TEST.SCENE_GRAPH.PROTOCOLS: .*'house' is unknown.*reference",
        ),
        ({"TEST.SCENE_GRAPH.PROTOCOLS": []}, "TEST.SCENE_GRAPH.PROTOCOLS: .*at least one"),
        ({"TEST.SCENE_GRAPH.BOOTSTRAP": -1}, "TEST.SCENE_GRAPH.BOOTSTRAP is -1.*0 for none"),
        ({"TEST.SCENE_GRAPH.SAVE_PREDICTIONS": True, "OUTPUT_DIR": "''"}, "SAVE_PREDICTIONS: OUTPUT_DIR is empty"),
        ({"TEST.SCENE_GRAPH.TOPK": [0, 20]}, "TEST.SCENE_GRAPH.TOPK: .*positive"),
        ({"TEST.SCENE_GRAPH.OBJECT_SCORE": "max"}, "TEST.SCENE_GRAPH.OBJECT_SCORE is 'max'.*softmax, sigmoid"),
        ({"TEST.BEST_METRIC": "R@50"}, "TEST.BEST_METRIC is 'R@50'; write task/metric, such as 'sgdet/R@50'"),
        ({"TEST.BEST_METRIC": "sgdet/R@30"}, r"'sgdet/R@30', but TEST.SCENE_GRAPH.TOPK is \[20, 50\].*add 30"),
        (
            {"TEST.SCENE_GRAPH.PROTOCOLS": ["motifs", "strict"], "TEST.BEST_METRIC": "sgdet_motifs/R@50"},
            r"PROTOCOLS is \['motifs', 'strict'\].*first protocol are called sgdet/",
        ),
        (
            {"TEST.SCENE_GRAPH.PROTOCOLS": ["motifs", "strict"], "TEST.BEST_METRIC": "sgdet_strict/R@30"},
            "'sgdet_strict/R@30', but TEST.SCENE_GRAPH.TOPK",
        ),
        (
            # As a command line gives it, which is split at commas.
            {"TEST.SCENE_GRAPH.PROTOCOLS": "motifs,strict,iou_plus_one=yes", "TEST.BEST_METRIC": "sgdet_strict/R@50"},
            r"PROTOCOLS is \['motifs', 'strict,iou_plus_one=yes'\].*those of the others sgdet_<protocol>",
        ),
        (
            DETECTOR | {"TEST.BEST_METRIC": "sgdet/R@50"},
            "RELATION.ENABLED False.*Set TEST.BEST_METRIC auto",
        ),
        (
            {"TEST.SCENE_GRAPH.TASKS": "predcls,phrdet"},
            r"TASKS is .*'phrdet'\]; give .*sgdet, sgcls, predcls",
        ),
        ({"TEST.SCENE_GRAPH.TASKS": "sgcls,sgcls"}, "TASKS is .*each once"),
        ({"TEST.SCENE_GRAPH.TASKS": []}, r"TASKS is \[\]"),
        (DETECTOR | {"TEST.SCENE_GRAPH.TASKS": ["predcls"]}, "TASKS is .*RELATION.ENABLED False.*Set it to sgdet"),
        (
            {"TEST.BEST_METRIC": "predcls/R@50"},
            r"'predcls/R@50', but TEST.SCENE_GRAPH.TASKS is \['sgdet'\].*add predcls",
        ),
        (
            {"TEST.SCENE_GRAPH.TASKS": ["sgcls"], "TEST.BEST_METRIC": "bbox/AP50"},
            r"'bbox/AP50', but TEST.SCENE_GRAPH.TASKS is \['sgcls'\].*add sgdet",
        ),
        (
            {"TEST.SCENE_GRAPH.TASKS": ["sgcls"], "TEST.BEST_METRIC": "sgcls_strict/R@50"},
            "called sgcls/..., those of the others sgcls_<protocol>",
        ),
        ({"DATASETS.TRAIN": ()}, "DATASETS.TRAIN is empty"),
    ],
)
def test_what_evaluation_would_refuse_is_refused_at_once(make_cfg, changes, message):
    with pytest.raises(EGTRError, match=message):
        EGTRTrainer(make_cfg(changes))


def record_images(cfg, resume: bool = False, kill_at: int | None = None) -> list[list[str]]:
    """Return the images of each forward pass of a run."""
    trainer = EGTRTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    seen = []
    trainer.bare_model.register_forward_pre_hook(
        lambda model, args: seen.append([record["file_name"] for record in args[0]])
    )
    trainer.register_hooks([Recorder(kill_at)])
    if kill_at is None:
        trainer.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return seen


def test_resumed_run_sees_what_the_uninterrupted_one_sees(make_cfg, make_tiny_dataset, tmp_path):
    upright = make_tiny_dataset(num_images=5, size=(96, 72), seed=3)
    cfg = make_cfg()
    changes = STUB | {
        "DATASETS.TRAIN": (*cfg.DATASETS.TRAIN, upright.train),
        "DATASETS.TEST": (),
        "SOLVER.ACCUMULATE_STEPS": 2,
        "SOLVER.MAX_ITER": 7,
        "SOLVER.CHECKPOINT_PERIOD": 4,
    }
    seed_all_rng(1)
    whole = record_images(make_cfg(changes | {"OUTPUT_DIR": str(tmp_path / "whole")}))
    # 14 batches of two are more than two rounds of the 11 images.
    assert len(whole) == 14 and len({image for batch in whole for image in batch}) == 11
    seed_all_rng(2)
    assert record_images(make_cfg(changes), kill_at=5) == whole[:10]
    # Saved after 4 iterations, of two batches each.
    assert record_images(make_cfg(changes), resume=True) == whole[8:]


def test_checkpoint_of_another_trainer_is_not_resumed(make_cfg, make_trainer, tmp_path):
    run(make_cfg(STUB | {"DATASETS.TEST": (), "SOLVER.CHECKPOINT_PERIOD": 1}), kill_at=1)
    path = tmp_path / "run/model_0000000.pth"
    content = torch.load(path, weights_only=True)
    del content["trainer"]["new_parameters"]
    torch.save(content, path)
    with pytest.raises(EGTRError, match="--resume: .*not written by EGTR's trainer.*MODEL.WEIGHTS"):
        make_trainer(make_cfg(STUB)).resume_or_load(resume=True)


def words(options: dict) -> list[str]:
    return [str(word) for pair in options.items() for word in pair]


def test_command_line_trains_and_evaluates_the_same_model(tiny_options, tmp_path):
    options = tiny_options | {"OUTPUT_DIR": str(tmp_path), "SOLVER.ACCUMULATE_STEPS": 2, "SOLVER.MAX_ITER": 1}
    trained = train_or_evaluate(egtr_argument_parser().parse_args(words(options)))
    assert {"R@20", "R@50", "mR@50"} <= set(trained["sgdet"]) and "AP50" in trained["bbox"]
    options["MODEL.WEIGHTS"] = str(tmp_path / "model_final.pth")
    options["OUTPUT_DIR"] = str(tmp_path / "evaluated")
    evaluated = train_or_evaluate(egtr_argument_parser().parse_args(["--eval-only", *words(options)]))
    assert evaluated["sgdet"] == pytest.approx(trained["sgdet"], nan_ok=True)
    assert evaluated["bbox"] == pytest.approx(trained["bbox"], nan_ok=True)


@pytest.mark.parametrize("datasets", [1, 2])
def test_one_pass_for_each_task_also_in_training(tiny_options, tiny_dataset, tmp_path, datasets):
    names = (tiny_dataset.val, tiny_dataset.test)[:datasets]
    options = tiny_options | {"OUTPUT_DIR": str(tmp_path), "SOLVER.MAX_ITER": 1, "TEST.EVAL_PERIOD": 1}
    options |= {"DATASETS.TEST": names, "TEST.VALIDATION_LOSS": True, "TEST.SCENE_GRAPH.SAVE_PREDICTIONS": True}
    options |= {"TEST.SCENE_GRAPH.PROTOCOLS": "reference,strict"}
    trained = train_or_evaluate(
        egtr_argument_parser().parse_args(words(options | {"TEST.SCENE_GRAPH.TASKS": "predcls,sgcls,sgdet"}))
    )
    results = {names[0]: trained} if datasets == 1 else trained
    assert list(results) == list(names)
    for name in names:
        blocks = ["predcls", "predcls_strict", "predcls_open_images", "sgcls", "sgcls_strict", "sgcls_open_images"]
        assert list(results[name]) == [*blocks, "sgdet", "sgdet_strict", "open_images", "bbox", "validation"]
        assert {"R@20", "A@20"} <= set(results[name]["predcls"]) and "A@20" not in results[name]["sgdet"]
        # All boxes are given, so that every pair is among the first 50.
        assert results[name]["predcls"]["ng-R@50"] > 0
        for task in ("predcls_", "sgcls_", ""):
            assert (tmp_path / f"scene_graph_{task}{name}.json").exists()
            assert read_meta(tmp_path / f"predictions_{task}{name}").task == (task.rstrip("_") or "sgdet")
    kept = load_checkpoint_file(str(tmp_path / "model_best.pth"))
    assert kept["metric"] == "predcls/R@50"

    options |= {"MODEL.WEIGHTS": str(tmp_path / "model_final.pth"), "OUTPUT_DIR": str(tmp_path / "sgdet")}
    evaluated = evaluate(options)
    separate = {names[0]: evaluated} if datasets == 1 else evaluated
    for name in names:
        assert separate[name]["sgdet"] == pytest.approx(results[name]["sgdet"], nan_ok=True)
        assert separate[name]["bbox"] == pytest.approx(results[name]["bbox"], nan_ok=True)


def test_evaluators_of_ones_own_run_once(make_cfg):
    class Counter(DatasetEvaluator):
        def reset(self):
            self.given = []

        def process(self, inputs, outputs):
            self.given += ["given" in record for record in inputs]

        def evaluate(self):
            return {"own": {"given": float(sum(self.given))}}

    cfg = make_cfg({"TEST.SCENE_GRAPH.TASKS": "sgcls,sgdet"})
    results = EGTRTrainer.test(cfg, build_model(cfg), [Counter()])
    assert results == {"own": {"given": 6.0}}


def evaluate(options: dict) -> dict:
    return train_or_evaluate(egtr_argument_parser().parse_args(["--eval-only", *words(options)]))


def test_evaluation_of_nothing_is_refused(make_cfg, tiny_options, tmp_path):
    options = tiny_options | {"OUTPUT_DIR": str(tmp_path)}
    with pytest.raises(EGTRError, match="--eval-only: MODEL.WEIGHTS is empty.*--resume"):
        evaluate(options)
    options["MODEL.WEIGHTS"] = detector_weights(make_cfg, tmp_path / "detector.pth")
    with pytest.raises(EGTRError, match="--eval-only: DATASETS.TEST is empty"):
        evaluate(options | {"DATASETS.TEST": ()})
    with pytest.raises(EGTRError, match=r"detector\.pth: lacks \d+ parameters of the model.*first is relation\."):
        evaluate(options)
    # Keys that only training reads are not in the way: no best weights are kept here.
    assert "AP50" in evaluate(options | {"MODEL.EGTR.RELATION.ENABLED": False})["bbox"]


def test_backbone_weights_are_fetched_only_for_a_new_run(tiny_options, tmp_path, monkeypatch):
    asked, create = [], timm.create_model

    def create_without_network(*args, pretrained=False, **options):
        asked.append(pretrained)
        return create(*args, **options)

    monkeypatch.setattr(timm, "create_model", create_without_network)
    options = tiny_options | {"OUTPUT_DIR": str(tmp_path), "MODEL.EGTR.BACKBONE.PRETRAINED": True}
    options |= {"SOLVER.MAX_ITER": 1, "DATASETS.TEST": ()}
    # The first has nothing to resume from.
    for _ in range(2):
        train_or_evaluate(egtr_argument_parser().parse_args(["--resume", *words(options)]))
    options |= {"MODEL.WEIGHTS": str(tmp_path / "model_final.pth"), "DATASETS.TEST": tiny_options["DATASETS.TEST"]}
    evaluate(options)
    assert asked == [True, False, False]


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({}, "sgdet/R@50"),
        (DETECTOR, "bbox/AP50"),
        ({"TEST.SCENE_GRAPH.TOPK": [5, 100, 10]}, "sgdet/R@10"),
        ({"TEST.BEST_METRIC": "sgdet/mR@20"}, "sgdet/mR@20"),
        ({"TEST.SCENE_GRAPH.TASKS": ["predcls", "sgdet"]}, "predcls/R@50"),
        ({"TEST.BEST_METRIC": ""}, ""),
    ],
)
def test_best_metric_follows_what_is_trained(make_cfg, changes, metric):
    assert best_metric(make_cfg({"TEST.SCENE_GRAPH.TOPK": [20, 50, 100]} | changes)) == metric


def test_statistics_of_norms_are_counted_before_an_evaluation(make_cfg):
    """TEST.PRECISE_BN: they are those of the weights that are evaluated, over the training images."""
    evaluated = []

    class Watched(EGTRTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            evaluated.append({name: buffer.clone() for name, buffer in model.named_buffers()})
            return {}

    changes = STUB | {"TEST.PRECISE_BN.ENABLED": True, "TEST.PRECISE_BN.NUM_ITER": 3, "TEST.EVAL_PERIOD": 1}
    means = []
    for momentum in (0.1, 0.9):
        trainer = Watched(make_cfg(changes | {"OUTPUT_DIR": f"{make_cfg().OUTPUT_DIR}_{momentum}"}))
        trainer.bare_model.norm.momentum = momentum
        seed_all_rng(0)
        trainer.train()
        means.append(evaluated[0]["norm.running_mean"])
        evaluated.clear()
    # Running means depend on the momentum; means over all images do not.
    torch.testing.assert_close(means[0], means[1])


@pytest.mark.parametrize(("expected", "ends"), [(30.0, False), (10.0, True)])
def test_results_are_compared_with_the_expected_ones(make_cfg, expected, ends):
    class Scored(EGTRTrainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"sgdet": {"R@50": 30.0}}

    cfg = make_cfg(STUB | {"SOLVER.MAX_ITER": 1, "TEST.EXPECTED_RESULTS": [["sgdet", "R@50", expected, 0.5]]})
    with pytest.raises(SystemExit) if ends else nullcontext():
        assert Scored(cfg).train() == {"sgdet": {"R@50": 30.0}}
