#!/usr/bin/env python
"""Print the uncertainty u of matches of different quality, for values of alpha and for u = 1 - p * IoU.

A match of quality q has the class probability q and a box that lies centred in the annotated one, a square of side
0.3 of the image, so that IoU = GIoU = q.
"""

import math

import torch
from tabulate import tabulate

from egtr.modeling import HungarianMatcher, Target
from egtr.modeling.smoothing import CostSmoothing, FitSmoothing

QUALITIES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
ALPHAS = (1e-14, 1e-12, 1e-10, 1e-8, 1e-6)
SIDE = 0.3


def main() -> None:
    matcher = HungarianMatcher()
    rules = {f"alpha {alpha:.0e}": CostSmoothing(min_cost=matcher.min_cost, alpha=alpha) for alpha in ALPHAS}
    rules["1 - p * IoU"] = FitSmoothing()
    rows = []
    for quality in QUALITIES:
        logits = torch.tensor([[[math.log(quality / (1 - quality))]]])
        sides = [SIDE * math.sqrt(quality)] * 2
        annotated = Target(torch.tensor([0]), torch.tensor([[0.5, 0.5, SIDE, SIDE]]), torch.zeros(0, 3))
        cost, fit = matcher.costs_and_fits(logits, torch.tensor([[[0.5, 0.5, *sides]]]), [annotated])
        values = {name: f"{float(rule(cost, fit)):.2g}" for name, rule in rules.items()}
        rows.append({"p = GIoU": f"{quality:g}", "cost": f"{float(cost):.2f}"} | values)
    print(tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
