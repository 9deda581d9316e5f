"""Training: optimizer, loop, hooks, and the processes of a run.

- ``launch``          the processes of a run, and the work of each process; ``defaults`` sets a process up
- ``trainer``         the trainer; ``train_loop`` has its optimizer step, ``optimizer`` the learning rates
- ``recompute``       activation checkpointing, which saves memory
- ``after_step``      everything that follows a step, in order: evaluation, best weights, early stopping, checkpoint
- ``best_weights``    the weights that scored highest; ``ema`` their moving average
- ``checks``          faults of a configuration, found before training
- ``new_parameters``  parameters that learn at the rate for new parameters
- ``random_state``    seeds and generators, for runs that resume exactly
- ``metrics_file``    metrics.json of a resumed run; ``graph_images`` draws graphs in TensorBoard
- ``stop_signals``    SIGTERM, SIGUSR1 and Ctrl-C
- ``loader_workers``  start, errors and death of a loader's workers; ``broken_images`` reports the images left out
"""

from egtr import (
    _deprecated,
    _detectron2,  # noqa: F401 - says how to install Detectron2 where it is missing
)

from .defaults import setup
from .launch import launch, train_or_evaluate
from .optimizer import build_optimizer, parameter_group
from .random_state import seed_process
from .train_loop import AccumulatingTrainer, build_train_loop
from .trainer import EGTRTrainer

__all__ = [
    "AccumulatingTrainer",
    "EGTRTrainer",
    "build_optimizer",
    "build_train_loop",
    "launch",
    "parameter_group",
    "seed_process",
    "setup",
    "train_or_evaluate",
]

__getattr__ = _deprecated.moved(
    __name__,
    {
        "BestCheckpointer": "egtr.engine.best_weights.BestWeights",
        "EGTRCheckpointer": "egtr.checkpoint.EGTRCheckpointer",
        "EGTRPredictor": "egtr.inference.EGTRPredictor",
        "ModelPart": "egtr.experiments.model_cost.ModelPart",
        "PredictedPicture": "egtr.structures.PredictedImage",
        "add_extension_argument": "egtr.config.add_extension_argument",
        "add_model_arguments": "egtr.config.add_model_arguments",
        "add_options_arguments": "egtr.config.add_options_arguments",
        "analyze_model": "egtr.experiments.model_cost.analyze_model",
        "egtr_argument_parser": "egtr.config.egtr_argument_parser",
        "explain": "egtr.inference.explain",
        "explain_graph": "egtr.inference.explain_graph",
        "export_weights": "egtr.checkpoint.export_weights",
        "fall_back_to_cpu": "egtr.config.fall_back_to_cpu",
        "find_new_parameters": "egtr.checkpoint.find_new_parameters",
        "import_extensions": "egtr.config.import_extensions",
        "load_checkpoint_file": "egtr.checkpoint.load_checkpoint_file",
        "load_config": "egtr.config.load_config",
        "predict": "egtr.inference.predict",
        "save_config": "egtr.config.save_config",
    },
)
