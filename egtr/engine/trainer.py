"""The trainer of `egtr train` and `tools/train_net.py`."""

import logging
import os
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, TrainerBase, create_ddp_model, hooks
from detectron2.evaluation import verify_results
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from egtr.checkpoint.checkpointer import EGTRCheckpointer, find_new_parameters, new_parameter_table
from egtr.data import build_test_loader, build_train_loader, build_triplet_counts, get_order_seed, skip_batches
from egtr.data.build import skipped_by
from egtr.evaluation import SceneGraphEvaluator
from egtr.structures import WeightsError

from .after_step import AfterStepHook, join_hook_states
from .broken_images import BrokenImageReporter
from .checks import check_best_metric, check_checkpoints, check_early_stopping, check_frozen, check_scoring
from .ema import EMAHook
from .loader_workers import explaining_worker_errors, init_worker
from .metrics_file import cut_metrics
from .new_parameters import copy_heads, find_declared, is_only_backbone, restart_heads
from .optimizer import build_lr_scheduler, build_optimizer, freeze_parameters
from .output_dir import explaining_full_disk
from .random_state import seed_process
from .recompute import recompute_activations
from .resuming import check_resumable, list_trained, log_without_effect
from .stop_signals import StopRequest, TrainingStopped
from .tasks import evaluate_tasks
from .train_loop import build_train_loop
from .validation_loss import add_validation_losses

logger = logging.getLogger(__name__)


class EGTRTrainer(DefaultTrainer):
    """Detectron2's ``DefaultTrainer`` with EGTR's data, optimizer, training loop and evaluation.

    ::

        trainer = EGTRTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()

    A run writes to ``cfg.OUTPUT_DIR``: ``model_*.pth`` and ``last_checkpoint`` to resume from,
    ``model_final.pth``, ``model_best.pth`` (only weights), ``metrics.json`` and TensorBoard events.
    ``docs/reliability.md`` describes what happens to these files when a run dies.

    Two things are decided when a run starts, and are kept in its checkpoints:

    - which parameters are new (the initial checkpoint lacks them, or holds them with another shape or for labels of
      other names) and therefore learn at their own rate,
    - the statistics for the frequency bias, counted over the training set. Evaluation and resumed runs take them
      from the checkpoint.

    A resumed run continues from its last checkpoint, with the next images. Without workers
    (DATALOADER.NUM_WORKERS 0) it also has the same random numbers as a run that was never interrupted.

    Raises:
        EGTRError: the data, or keys of SOLVER or TEST, are not usable.

    Attributes:
        new_parameters: names of the new parameters; empty when training from scratch or from only a backbone.
        frozen_parameters: names of the parameters that SOLVER.LR_MULTIPLIERS freezes.
    """

    def __init__(self, cfg: CfgNode):
        # Not DefaultTrainer's __init__, which wraps the model for CUDA and has no accumulation.
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.new_parameters: list[str] = []

        # Faults of the configuration and of the data are found before a model is built.
        check_scoring(cfg)
        check_best_metric(cfg)
        check_early_stopping(cfg)
        check_checkpoints(cfg)
        data_loader = self.build_train_loader(cfg)
        if isinstance(data_loader, DataLoader):
            # A signal that asks a run to stop may also reach its workers, but the last step still needs them.
            data_loader.worker_init_fn = partial(init_worker, data_loader.worker_init_fn)
        model = self.build_model(cfg)
        self.frozen_parameters = freeze_parameters(cfg, model)
        if cfg.SOLVER.ACTIVATION_CHECKPOINTING:
            recompute_activations(model)
        optimizer = self.build_optimizer(cfg, model)
        on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        ddp_options = {"device_ids": None} if on_cpu else {}
        # WITH_BOX_REFINE without AUX_LOSS leaves the class heads of all decoder layers but the last unused.
        wrapped = create_ddp_model(model, broadcast_buffers=False, find_unused_parameters=True, **ddp_options)
        self._trainer = build_train_loop(cfg, wrapped, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = EGTRCheckpointer(model, cfg.OUTPUT_DIR, warn=False, trainer=weakref.proxy(self))
        self._stop_request = StopRequest()
        self._ema = EMAHook(model, cfg.SOLVER.EMA_DECAY) if cfg.SOLVER.EMA_DECAY else None
        self._order_seed: int | None = None
        self._last_eval_results: dict[str, Any] | None = None
        self._after_step = AfterStepHook.from_config(cfg, self.checkpointer, self._stop_request)
        self.register_hooks(self.build_hooks())

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrapper of distributed training."""
        return self.checkpointer.model

    @property
    def evaluated_model(self) -> nn.Module:
        """The model that is evaluated: with SOLVER.EMA_DECAY the one with averaged weights."""
        return self.bare_model if self._ema is None else self._ema.model

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint in OUTPUT_DIR, or start from MODEL.WEIGHTS if there is none.

        Without MODEL.WEIGHTS, or if they hold only a backbone, the run starts from scratch and no parameter counts
        as new.

        Raises:
            WeightsError: the weights cannot be used, or the run to resume trained other parameters.
        """
        if resume and self.checkpointer.has_checkpoint():
            super().resume_or_load(resume=True)
            return
        if resume:
            logger.info("There is no checkpoint in %s to resume from: a new run starts", self.cfg.OUTPUT_DIR)
        if not self.cfg.MODEL.WEIGHTS:
            logger.info("MODEL.WEIGHTS is empty: starting from scratch")
            return
        heads = copy_heads(self.cfg, self.bare_model)
        self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
        new_parameters = find_new_parameters(self.bare_model, self.checkpointer.incompatible)
        restarted = restart_heads(self.cfg, self.bare_model, heads, new_parameters)
        check_frozen(self.cfg, [*new_parameters, *restarted], self.frozen_parameters)
        if is_only_backbone(self.bare_model, new_parameters):
            logger.info(
                "MODEL.WEIGHTS brings only a backbone: everything else starts from scratch, at SOLVER's rates"
            )
            new_parameters = []
        if new_parameters:
            table = new_parameter_table(self.bare_model, new_parameters, self.checkpointer.incompatible)
            rate = self.cfg.SOLVER.BASE_LR * self.cfg.SOLVER.NEW_MULTIPLIER
            reason = "MODEL.WEIGHTS lacks these parameters: they start from scratch, at the learning rate"
            logger.info("%s %.3g:\n%s", reason, rate, table)
        declared = find_declared(self.bare_model, self.cfg.SOLVER.NEW_PARAMETERS)
        self._set_new_parameters(dict.fromkeys([*new_parameters, *restarted, *declared]))

    def train(self) -> dict[str, Any] | None:
        """Run training; return the results of the last evaluation (on the main process).

        SIGTERM, SIGUSR1 and SIGINT end it after a checkpoint.

        Raises:
            TrainingStopped: after such a signal. If it is not caught, the process ends with status 0.
            WriteError: a file of the run cannot be written, such as on a full disk.
            EGTRError: a worker of a loader was killed, or a loss or gradient is not finite (SOLVER.SKIP_NON_FINITE).
        """
        resuming = "then go on with --resume from the last checkpoint"
        workers = self.cfg.DATALOADER.NUM_WORKERS
        with self._stop_request.listening(), explaining_worker_errors(workers, resuming):
            self._prepare()
            with explaining_full_disk(self.cfg.OUTPUT_DIR):
                self._run_steps()
        if self._stop_request.received:
            raise TrainingStopped
        if self._ema is not None:
            self.checkpointer.save_weights("model_ema", self._ema.model)
        # None: a run that has ended early before evaluates nothing when it is resumed.
        if self._last_eval_results is not None and self.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def _run_steps(self) -> None:
        """Run Detectron2's loop, which may end before SOLVER.MAX_ITER (see :class:`AfterStepHook`)."""
        logger.info("Starting training from iteration %d", self.start_iter)
        self.iter = self.start_iter
        with EventStorage(self.start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < self.max_iter and not self._after_step.ended:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()

    def _prepare(self) -> None:
        if self.start_iter == 0:
            self._count_relations()
        else:
            self._continue_run()
        images, steps = self.cfg.SOLVER.IMS_PER_BATCH, self.cfg.SOLVER.ACCUMULATE_STEPS
        text = "Effective batch %d = SOLVER.IMS_PER_BATCH %d x SOLVER.ACCUMULATE_STEPS %d, over %d process(es)"
        logger.info(text, images * steps, images, steps, comm.get_world_size())

    def _count_relations(self) -> None:
        if not self.cfg.MODEL.EGTR.RELATION.ENABLED:
            return
        counts = build_triplet_counts(self.cfg)
        self.bare_model.set_relation_statistics(torch.from_numpy(counts.dense()))
        logger.info("Relation statistics: %d triplets in %s", counts.counts.sum(), ", ".join(self.cfg.DATASETS.TRAIN))

    def _continue_run(self) -> None:
        """Continue with the images and the random numbers that come next in the resumed run."""
        batches = self.start_iter * self.cfg.SOLVER.ACCUMULATE_STEPS
        if not skip_batches(self._trainer.data_loader, batches, self._order_seed):
            logger.info("The training loader is not EGTR's: its order of images starts over")
        # Workers start with these seeds, which must differ from the seeds at the beginning of the run.
        seed_process(self.cfg, self.start_iter)
        # Starting the loader draws a random number, so it must come before the random state is restored.
        self._trainer.start_loader()
        self._after_step.restore_random_states()
        if comm.is_main_process():
            cut_metrics(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"), self.start_iter)

    def _set_new_parameters(self, names: Iterable[str]) -> None:
        """Build the optimizer again, with an empty state, if other parameters than before are new."""
        names = list(names)
        if names == self.new_parameters:
            return
        self.new_parameters = names
        logger.info("%d parameters are new", len(names))
        self.optimizer = self.build_optimizer(self.cfg, self.bare_model, names)
        self.scheduler = self.build_lr_scheduler(self.cfg, self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "new_parameters": self.new_parameters,
            "trained_parameters": list_trained(self.bare_model, self.optimizer),
            "order_seed": get_order_seed(self._trainer.data_loader),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "new_parameters" not in state_dict:
            raise WeightsError(
                f"--resume: the last checkpoint in {self.cfg.OUTPUT_DIR} was not written by EGTR's trainer. Start a "
                "new run in another OUTPUT_DIR with MODEL.WEIGHTS set to that checkpoint"
            )
        # With a negative SEED the order is random. Checkpoints of older versions have no seed of it.
        if self.cfg.SEED < 0:
            self._order_seed = state_dict.get("order_seed")
        # The optimizer's state is stored group by group: the groups must be there first.
        self._set_new_parameters(state_dict["new_parameters"])
        model, found = self.bare_model, self.checkpointer.incompatible
        check_resumable(self.cfg.OUTPUT_DIR, model, self.optimizer, found, state_dict, averages=self._ema is not None)
        declared = find_declared(model, self.cfg.SOLVER.NEW_PARAMETERS)
        groups = state_dict["_trainer"]["optimizer"]["param_groups"]
        log_without_effect(self.optimizer, groups, [n for n in declared if n not in self.new_parameters])
        super().load_state_dict({**state_dict, "hooks": join_hook_states(state_dict.get("hooks", {}))})

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """Build the hooks of a run, in the order in which a step calls them.

        They are Detectron2's up to PreciseBN. :class:`AfterStepHook` then takes the places of its hooks for
        evaluation, checkpoints and writers; it comes last, so that everything a step leads to is in a checkpoint.
        """
        skipped = skipped_by(self._trainer.data_loader)
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._build_precise_bn(),
            self._ema,
            self._after_step,
            None if skipped is None else BrokenImageReporter(skipped),
        ]

    def _build_precise_bn(self) -> hooks.HookBase | None:
        if not self.cfg.TEST.PRECISE_BN.ENABLED or not get_bn_modules(self.model):
            return None
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        # A separate loader, so that the order of training images stays the same.
        loader = self.build_train_loader(cfg)
        return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)

    def evaluate(self) -> dict[str, Any]:
        """Evaluate the weights of now on DATASETS.TEST; return task to metric to value, by dataset if several."""
        self._last_eval_results = self.test(self.cfg, self.evaluated_model)
        return self._last_eval_results

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """Evaluate each of TEST.SCENE_GRAPH.TASKS as Detectron2 does; ``evaluators`` of your own only the first.

        With TEST.VALIDATION_LOSS also measure the losses, as task "validation".
        """
        test = super().test
        if evaluators is None:
            results = evaluate_tasks(cfg, lambda part: test(part, model))
        else:
            results = test(cfg, model, evaluators)
        if cfg.TEST.VALIDATION_LOSS:
            add_validation_losses(results, cfg, model, cls.build_test_loader)
        return results

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = build_model(cfg)
        parameters = list(model.parameters())
        logger.info(
            "%s on %s: %.2f M parameters, %.2f M of them trained",
            type(model).__name__,
            cfg.MODEL.DEVICE,
            sum(p.numel() for p in parameters) / 1e6,
            sum(p.numel() for p in parameters if p.requires_grad) / 1e6,
        )
        return model

    @classmethod
    def build_optimizer(
        cls, cfg: CfgNode, model: nn.Module, new_parameters: Iterable[str] = ()
    ) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model, new_parameters)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> SceneGraphEvaluator:
        return SceneGraphEvaluator.from_config(cfg, dataset_name, output_dir=cfg.OUTPUT_DIR or None)
