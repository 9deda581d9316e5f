"""The trainer that `tools/train_net.py` runs."""

import logging
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, TrainerBase, create_ddp_model, hooks
from detectron2.modeling import build_model
from detectron2.utils import comm
from torch import nn

from egtr.data import build_test_loader, build_train_loader, build_triplet_counts, skip_batches
from egtr.data.build import skipped_by
from egtr.evaluation import SceneGraphEvaluator
from egtr.structures import EGTRError

from .checkpointer import EGTRCheckpointer, find_new_parameters, new_parameter_table
from .checks import best_metric, check_best_metric, check_frozen, check_scoring
from .defaults import seed_process
from .hooks import BestCheckpointer, BrokenPictureReporter
from .optimizer import build_optimizer
from .train_loop import build_train_loop

logger = logging.getLogger(__name__)


class EGTRTrainer(DefaultTrainer):
    """Detectron2's ``DefaultTrainer`` with EGTR's data, optimizer, training loop and evaluation.

    ::

        trainer = EGTRTrainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.train()

    A run leaves in ``cfg.OUTPUT_DIR``: ``model_*.pth`` and ``last_checkpoint`` to resume from,
    ``model_final.pth``, ``model_best.pth`` (weights alone), ``metrics.json`` and TensorBoard events.

    Two things are settled once, when a run starts, and travel in its checkpoints from then on:

    - which parameters are new (the initial checkpoint lacks them or holds them with another shape) and
      therefore learn at their own rate,
    - the statistics behind the frequency bias, counted over the training set. Evaluation and resumed runs use
      those of the checkpoint.

    A resumed run goes on in the order of pictures where it was cut, given SEED.

    Raises:
        EGTRError: the data, or keys of SOLVER or TEST, are not usable.

    Attributes:
        new_parameters: names of the new parameters; empty when training from scratch.
    """

    def __init__(self, cfg: CfgNode):
        # DefaultTrainer's own __init__ is left out: it wraps the model for CUDA, takes Detectron2's optimizer
        # wrappers and has no accumulation. Everything else of it is kept.
        TrainerBase.__init__(self)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.new_parameters: list[str] = []

        # What is wrong with the evaluation or the data is found before a model is built.
        check_scoring(cfg)
        check_best_metric(cfg)
        data_loader = self.build_train_loader(cfg)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        ddp_options = {"device_ids": None} if on_cpu else {}
        # WITH_BOX_REFINE without AUX_LOSS leaves the class heads of all decoder layers but the last unused.
        wrapped = create_ddp_model(model, broadcast_buffers=False, find_unused_parameters=True, **ddp_options)
        self._trainer = build_train_loop(cfg, wrapped, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = EGTRCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.register_hooks(self.build_hooks())

    @property
    def bare_model(self) -> nn.Module:
        """The model without the wrapper of distributed training."""
        return self.checkpointer.model

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint in OUTPUT_DIR, or start from MODEL.WEIGHTS where there is none.

        Without MODEL.WEIGHTS the run starts from scratch and no parameter counts as new.

        Raises:
            EGTRError: the weights cannot be used, or the run to resume trained other parameters.
        """
        if resume and self.checkpointer.has_checkpoint():
            super().resume_or_load(resume=True)
            return
        if resume:
            logger.info("There is no checkpoint in %s to resume from: starting anew", self.cfg.OUTPUT_DIR)
        if not self.cfg.MODEL.WEIGHTS:
            logger.info("MODEL.WEIGHTS is empty: starting from scratch")
            return
        self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
        new_parameters = find_new_parameters(self.bare_model, self.checkpointer.incompatible)
        check_frozen(self.cfg, new_parameters)
        if new_parameters:
            table = new_parameter_table(self.bare_model, new_parameters, self.checkpointer.incompatible)
            rate = self.cfg.SOLVER.BASE_LR * self.cfg.SOLVER.NEW_MULTIPLIER
            logger.info("What MODEL.WEIGHTS does not bring starts anew, at the learning rate %.3g:\n%s", rate, table)
        self._set_new_parameters([*new_parameters, *self._declared_new(new_parameters)])

    def _declared_new(self, known: Iterable[str]) -> list[str]:
        """Names that SOLVER.NEW_PARAMETERS means, without those that are known to be new."""
        names = [name for name, parameter in self.bare_model.named_parameters() if parameter.requires_grad]
        found = set()
        for prefix in self.cfg.SOLVER.NEW_PARAMETERS:
            matching = {name for name in names if name.startswith(prefix)}
            if not matching:
                raise EGTRError(
                    f"SOLVER.NEW_PARAMETERS: no trained parameter begins with {prefix!r}, but one is {names[0]}"
                )
            found |= matching
        return [name for name in names if name in found and name not in set(known)]

    def train(self) -> dict[str, Any] | None:
        """Run training; returns the results of the last evaluation (on the main process)."""
        if self.start_iter == 0:
            self._count_relations()
        else:
            self._continue_data()
        solver = self.cfg.SOLVER
        logger.info(
            "Effective batch %d = SOLVER.IMS_PER_BATCH %d x SOLVER.ACCUMULATE_STEPS %d, over %d process(es)",
            solver.IMS_PER_BATCH * solver.ACCUMULATE_STEPS,
            solver.IMS_PER_BATCH,
            solver.ACCUMULATE_STEPS,
            comm.get_world_size(),
        )
        super().train()
        return getattr(self, "_last_eval_results", None)

    def _count_relations(self) -> None:
        if not self.cfg.MODEL.EGTR.RELATION.ENABLED:
            return
        counts = build_triplet_counts(self.cfg)
        self.bare_model.set_relation_statistics(torch.from_numpy(counts.dense()))
        logger.info("Relation statistics: %d triplets in %s", counts.counts.sum(), ", ".join(self.cfg.DATASETS.TRAIN))

    def _continue_data(self) -> None:
        """Let a resumed run see the pictures that come next, under other random numbers than at its beginning."""
        if not skip_batches(self._trainer.data_loader, self.start_iter * self.cfg.SOLVER.ACCUMULATE_STEPS):
            logger.info("The training loader is not EGTR's: its order of pictures begins anew")
        seed_process(self.cfg, self.start_iter)

    def _set_new_parameters(self, names: Iterable[str]) -> None:
        """Regroup the optimizer, whose state starts empty: before training and before its state is loaded."""
        names = list(names)
        if names == self.new_parameters:
            return
        self.new_parameters = names
        logger.info("%d parameters are new", len(names))
        self.optimizer = self.build_optimizer(self.cfg, self.bare_model, names)
        self.scheduler = self.build_lr_scheduler(self.cfg, self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "new_parameters": self.new_parameters}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "new_parameters" not in state_dict:
            raise EGTRError(
                f"--resume: the last checkpoint in {self.cfg.OUTPUT_DIR} was not written by EGTR's trainer. Start a "
                "new run in another OUTPUT_DIR with MODEL.WEIGHTS set to that checkpoint"
            )
        # The optimizer's state is stored group by group: the groups must be there first.
        self._set_new_parameters(state_dict["new_parameters"])
        try:
            super().load_state_dict(state_dict)
        except ValueError as error:
            raise EGTRError(
                f"--resume: the optimizer of the last checkpoint in {self.cfg.OUTPUT_DIR} does not fit the model "
                f"({error}). Go on with the configuration that the run began with, or start a new run in another "
                "OUTPUT_DIR with MODEL.WEIGHTS set to that checkpoint"
            ) from error

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """Detectron2's hooks, the one that keeps the best weights, and the one that counts broken pictures."""
        all_hooks = super().build_hooks()
        metric = best_metric(self.cfg)
        if metric and self.cfg.DATASETS.TEST:
            best = BestCheckpointer(self.checkpointer, metric, self.cfg.DATASETS.TEST)
            positions = [k for k, hook in enumerate(all_hooks) if isinstance(hook, hooks.EvalHook)]
            all_hooks.insert(positions[0] + 1, best)
        skipped = skipped_by(self._trainer.data_loader)
        if skipped is not None:
            all_hooks.append(BrokenPictureReporter(skipped))
        return all_hooks

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
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> SceneGraphEvaluator:
        return SceneGraphEvaluator.from_config(cfg, dataset_name, output_dir=cfg.OUTPUT_DIR or None)
