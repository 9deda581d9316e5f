"""Archives as they were released: the golden weights, several folders deep, with the files that lie beside them."""

import io
import json
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path

import torch

from tests.checkpoint.artifacts import write_artifact
from tests.golden_cases import FOLDER, rule

DEEP = "egtr__SenseTime__deformable-detr__batch__8/visual_genome__finetune/version_0"
RELATION = ("triplet_dist", "rel_dist", "proj_q", "proj_k", "final_", "rel_predictor", "connectivity")
# Tensors with a size that depends on the number of classes or predicates.
BY_NUMBER = ("class_embed", "triplet_dist", "rel_dist", "rel_predictor.layers.2")


@lru_cache
def released_weights(classes: int = 150, predicates: int = 50) -> tuple[dict, dict]:
    """Settings and weights of the small golden case, with as many classes and predicates."""
    record = json.loads((FOLDER / "small.json").read_text())
    labels, relations = record["config"]["num_labels"], record["config"]["num_rel_labels"]
    old = {labels: classes, labels + 1: classes + 1, relations: predicates}
    config = record["config"] | {
        "num_labels": classes,
        "num_rel_labels": predicates,
        "id2label": {str(index): f"LABEL_{index}" for index in range(classes)},
    }
    weights = {}
    for name, shape, source in record["state_dict"]:
        if any(part in name for part in BY_NUMBER):
            shape = [old.get(size, size) for size in shape]
        weights[name] = torch.as_tensor(rule.fill(source, shape, record["salt"]))
    return config, weights


def write_released(folder: Path, *, detector: bool = False, classes: int = 150, predicates: int = 50) -> Path:
    """The folder that is in a released archive, with JSON files that are not its settings; returns its top."""
    config, weights = released_weights(classes, predicates)
    if detector:
        weights = {name: value for name, value in weights.items() if not name.startswith(RELATION)}
    deep = folder / DEEP
    # The older epoch has other weights, which would not load.
    write_artifact(deep, config, {"wrong": torch.zeros(1)}, epoch=2)
    newest = write_artifact(deep, config, weights, epoch=11)
    for name in (f"{newest.stem}__test__26446__V100.json", "hparams.json", "checkpoints/metrics.json"):
        (deep / name).write_text(json.dumps({"test_metrics": {"R@20": 0.23}}))
    return folder


def make_tar(folder: Path, path: Path) -> bytes:
    """A ``.tar.gz``, hardly compressed for speed, of what is in ``folder``, written to ``path``."""
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        for part in sorted(folder.iterdir()):
            archive.add(part, part.name)
    return path.read_bytes()


def make_zip(files: dict[str, bytes]) -> bytes:
    """A zip archive of files by name."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()
