"""Studies of models and runs. Nothing in the library but the command line imports this room.

- ``sweep/``             many runs with several seeds, compared
- ``relation_analysis``  measures relations in self-attention; ``relation_plots`` draws the numbers
- ``training_curves``    the curves of a run
- ``model_cost``         parameters and operations of a model; ``latency`` its time for each image of a dataset
"""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
