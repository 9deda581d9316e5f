"""How fast and how large the model is: what ``benchmarks/command_line.py`` prints."""

from .agreement import measure_agreement
from .contestants import (
    CONTESTANTS,
    PARTS,
    SMALL,
    TRAINING,
    Case,
    build_inference,
    build_one_inference,
    build_one_relation,
    build_one_training,
    build_relation,
    build_training,
    split_inference,
)
from .growth import AXES, judge_growth, measure_growth, plot_growth
from .machine import count_work, measure_machine
from .measure import Contestant, Memory, Timing, describe_machine, measure_memory, measure_time
from .pipeline import Waiting, measure_waiting
from .pruning import build_pruning, measure_pair_share, measure_pruning
from .sampling import measure_sampling

__all__ = [
    "AXES",
    "CONTESTANTS",
    "Case",
    "Contestant",
    "Memory",
    "PARTS",
    "SMALL",
    "TRAINING",
    "Timing",
    "Waiting",
    "build_inference",
    "build_one_inference",
    "build_one_relation",
    "build_one_training",
    "build_pruning",
    "build_relation",
    "build_training",
    "count_work",
    "describe_machine",
    "judge_growth",
    "measure_agreement",
    "measure_growth",
    "measure_machine",
    "measure_memory",
    "measure_pair_share",
    "measure_pruning",
    "measure_sampling",
    "measure_time",
    "measure_waiting",
    "plot_growth",
    "split_inference",
]
