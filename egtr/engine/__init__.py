"""Training and prediction: optimizer, loop, checkpoints, and the way from a command line to a run."""

from .. import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from .analysis import ModelPart, analyze_model
from .checkpointer import EGTRCheckpointer, export_weights, find_new_parameters, load_checkpoint_file
from .defaults import (
    add_extension_argument,
    add_model_arguments,
    add_options_arguments,
    egtr_argument_parser,
    fall_back_to_cpu,
    load_config,
    save_config,
    seed_process,
    setup,
)
from .explanation import explain, explain_graph
from .extensions import import_extensions
from .hooks import BestCheckpointer
from .launch import launch, train_or_evaluate
from .optimizer import build_optimizer, parameter_group
from .predictor import EGTRPredictor, PredictedPicture, predict
from .train_loop import AccumulatingTrainer, build_train_loop
from .trainer import EGTRTrainer

__all__ = [
    "AccumulatingTrainer",
    "BestCheckpointer",
    "EGTRCheckpointer",
    "EGTRPredictor",
    "EGTRTrainer",
    "ModelPart",
    "PredictedPicture",
    "add_extension_argument",
    "add_model_arguments",
    "add_options_arguments",
    "analyze_model",
    "build_optimizer",
    "build_train_loop",
    "egtr_argument_parser",
    "explain",
    "explain_graph",
    "export_weights",
    "fall_back_to_cpu",
    "find_new_parameters",
    "import_extensions",
    "launch",
    "load_checkpoint_file",
    "load_config",
    "parameter_group",
    "predict",
    "save_config",
    "seed_process",
    "setup",
    "train_or_evaluate",
]
