"""Readers of data sets and the names of those that the library knows."""

from egtr.data.datasets.builtin import register_builtin_datasets
from egtr.data.datasets.visual_genome import load_visual_genome_json, register_visual_genome

__all__ = ["load_visual_genome_json", "register_builtin_datasets", "register_visual_genome"]
