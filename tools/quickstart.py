#!/usr/bin/env python
"""EGTR from end to end on the CPU: what ``make demo`` does.

Prepares the drawn dataset, trains EGTR on it from the shipped detector weights, evaluates it, draws
validation images with their graphs, and prints a table of metrics and the paths of the images.
"""

# Before Detectron2, whose import it keeps quiet.
import egtr  # noqa: F401  isort: skip

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

from egtr.config import fall_back_to_cpu, load_config, save_config
from egtr.data import get_metadata
from egtr.data.scenes import prepare_scenes
from egtr.engine import EGTRTrainer, seed_process
from egtr.inference import EGTRPredictor
from egtr.structures import EGTRError
from egtr.visualization import save_scene_graph

# A log file gets a line now and then, a terminal a moving bar.
progress = partial(tqdm, mininterval=0.1 if sys.stderr.isatty() else 10)


class ProgressBar(HookBase):
    """Training's progress in one line: iterations, time left, loss."""

    def before_train(self) -> None:
        self._bar = progress(total=self.trainer.max_iter, initial=self.trainer.start_iter, desc="training", unit="it")

    def after_step(self) -> None:
        losses = self.trainer.storage.histories().get("total_loss")
        if losses is not None:
            self._bar.set_postfix(loss=f"{losses.median(20):.2f}", refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()


class QuickstartTrainer(EGTRTrainer):
    """The ordinary trainer with progress bars in place of log lines."""

    def build_hooks(self) -> list[HookBase | None]:
        # First, so that the bar is complete before evaluation starts another one.
        return [ProgressBar(), *super().build_hooks()]

    def build_writers(self) -> list[Any]:
        folder = Path(self.cfg.OUTPUT_DIR)
        return [JSONWriter(str(folder / "metrics.json")), TensorboardXWriter(str(folder))]

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        loader = super().build_test_loader(cfg, dataset_name)
        return progress(loader, desc=f"evaluating on {dataset_name}", unit="image")


def prepare_data(cfg: CfgNode, dataset: str) -> None:
    """Draw the dataset if the run needs it and it does not exist yet."""
    names = [name for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST, dataset) if name.startswith("scenes_")]
    if names:
        root = Path(get_metadata(names[0]).image_root).parent
        print(f"\n[1/3] Dataset: {root.resolve()}", flush=True)
        if not prepare_scenes(root):
            print("is there already")


def train(cfg: CfgNode) -> tuple[nn.Module, Mapping[str, Mapping[str, float]]]:
    """Train and evaluate, as ``tools/train_net.py`` does; returns the model and its metrics."""
    print(f"\n[2/3] Training from {cfg.MODEL.WEIGHTS or 'scratch'} (log: {cfg.OUTPUT_DIR}/log.txt)", flush=True)
    # Its writer appends, but every demo is a run of its own.
    Path(cfg.OUTPUT_DIR, "metrics.json").unlink(missing_ok=True)
    trainer = QuickstartTrainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    return trainer.bare_model, results


def draw(model: nn.Module, cfg: CfgNode, dataset: str, number: int, folder: Path) -> list[Path]:
    """Draw ``number`` images, spread evenly over ``dataset``; returns the files."""
    print(f"\n[3/3] Drawing images of {dataset}", flush=True)
    records = DatasetCatalog.get(dataset)
    chosen = np.linspace(0, len(records) - 1, min(number, len(records))).round().astype(int)
    files = [records[index]["file_name"] for index in chosen]
    paths = []
    for result in progress(EGTRPredictor(cfg, model).predict(files), total=len(files), desc="drawing", unit="image"):
        if result.error is not None:
            raise result.error
        path = folder / f"{Path(result.graph.file_name).stem}.png"
        # Objects without a relation show as well: few steps of training leave few sure relations.
        save_scene_graph(path, result.image, result.graph.for_display(top_k=12, min_object_score=0.5))
        paths.append(path)
    return paths


def metrics_table(results: Mapping[str, Any], datasets: Sequence[str], top_k: Iterable[int]) -> str:
    """Tabulate the metrics that papers report, in percent.

    Args:
        results: of training: task to metric to value, by dataset where ``datasets`` are several.
    """
    if len(datasets) > 1:
        return "\n\n".join(f"{name}:\n{metrics_table(results[name], [name], top_k)}" for name in datasets)
    parts = []
    if "sgdet" in results:  # not there without relation head
        graphs = results["sgdet"]
        rows = [[f"{kind}@K", *(graphs[f"{kind}@{k}"] for k in top_k)] for kind in ("R", "mR", "ng-R", "ng-mR")]
        parts.append(tabulate(rows, headers=["%", *(f"K = {k}" for k in top_k)], floatfmt=".1f"))
    objects = results["bbox"]
    parts.append(f"objects: AP50 {objects['AP50']:.1f}, AP {objects['AP']:.1f}")
    return "\n\n".join(parts)


def write_log(folder: Path) -> None:
    """Send everything to a file, so that the console keeps the progress bars and warnings."""
    folder.mkdir(parents=True, exist_ok=True)
    to_file, to_console = logging.FileHandler(folder / "log.txt"), logging.StreamHandler()
    to_file.setFormatter(logging.Formatter("[%(asctime)s %(name)s] %(levelname)s: %(message)s"))
    to_console.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (to_file, to_console):
        root.addHandler(handler)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="egtr://configs/scenes/rtdetr_demo.yaml", metavar="FILE")
    parser.add_argument("--output", default="output/demo", metavar="DIR", type=Path, help="(default: %(default)s)")
    parser.add_argument(
        "--dataset",
        default="scenes_val",
        metavar="NAME",
        help="dataset of the images to draw (default: %(default)s)",
    )
    parser.add_argument(
        "--images", default=10, type=int, metavar="N", help="number of images to draw (default: %(default)s)"
    )
    parser.add_argument("--pictures", dest="images", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes of the configuration, in pairs")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    args, start = parse_arguments(arguments), time.perf_counter()
    cfg = load_config(args.config_file, args.opts)
    if "OUTPUT_DIR" not in args.opts[::2]:
        cfg.OUTPUT_DIR = str(args.output / "training")
    write_log(Path(cfg.OUTPUT_DIR))
    fall_back_to_cpu(cfg)
    cfg.freeze()
    save_config(cfg)
    seed_process(cfg)

    prepare_data(cfg, args.dataset)
    model, results = train(cfg)
    # A model without a relation part has no graphs to draw.
    wanted = args.images if cfg.MODEL.EGTR.RELATION.ENABLED else 0
    paths = draw(model, cfg, args.dataset, wanted, args.output)
    minutes = (time.perf_counter() - start) / 60
    names = ", ".join(cfg.DATASETS.TEST)
    print(f"\nScene graphs on {names} after {cfg.SOLVER.MAX_ITER} iterations ({minutes:.1f} minutes in all):\n")
    print(metrics_table(results, cfg.DATASETS.TEST, cfg.TEST.SCENE_GRAPH.TOPK))
    if paths:
        print("\nImages with their graphs:", *paths, sep="\n  ")


if __name__ == "__main__":
    try:
        main()
    except EGTRError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
