"""The best scores that a model reaches on images of its own kind, and on photographs that Python packages carry."""

from collections.abc import Iterable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.file_io import PathManager
from tqdm import tqdm

from egtr.data import get_metadata
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError, ModelInfo
from egtr.structures.model_info import FILE_NAME

# Folder in a package, and its photographs; drawings, scans and images of microscopes there are left out.
PHOTOGRAPHS = {
    "skimage": (
        "data",
        "astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png grass.png gravel.png "
        "moon.png motorcycle_left.png rocket.jpg",
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
    "matplotlib": ("mpl-data/sample_data", "grace_hopper.jpg"),
}
# The threshold is this quantile of the best scores on the images of the model's kind.
QUANTILE = 0.05
QUANTILES = (0.0, QUANTILE, 0.25, 0.5, 0.75, 1.0)


def measure_photographs(cfg: CfgNode, images: int | None = None, write: bool = False) -> dict[str, Any]:
    """Measure the best score of a triplet, for each image of DATASETS.TEST[0] and for each photograph.

    The weights are MODEL.WEIGHTS.

    Args:
        images: use only this number of images of the dataset, from the first; None: all.
        write: write the threshold into the record of the weights.

    Returns:
        "images": their number; "threshold": the QUANTILE of their best scores; "below": the shares of the dataset and
        of the photographs that are below it; "quantiles" and "best_scores" of both, the latter by file name for
        photographs; "record": the file that was written, or None.

    Raises:
        ConfigurationError: a package with photographs is not installed.
        WeightsError, DataError: the weights, the dataset or an image cannot be read.
    """
    photographs = find_photographs()
    predictor = EGTRPredictor(cfg)
    name = cfg.DATASETS.TEST[0]
    get_metadata(name)
    own = [record["file_name"] for record in islice(DatasetCatalog.get(name), images)]
    scores = {kind: best_scores(predictor, paths) for kind, paths in (("own", own), ("photographs", photographs))}
    threshold = round(float(np.quantile(scores["own"], QUANTILE)), 3)
    record = None
    if write:
        weights = Path(PathManager.get_local_path(cfg.MODEL.WEIGHTS))
        record = weights.with_name(f"{weights.stem}.{FILE_NAME}")
        (ModelInfo.find(weights) or ModelInfo()).merged(ModelInfo(photograph_threshold=threshold)).save(record)
    return {
        "images": len(own),
        "threshold": threshold,
        "below": {kind: float(np.mean(np.array(found) < threshold)) for kind, found in scores.items()},
        "quantiles": {kind: np.quantile(found, QUANTILES).tolist() for kind, found in scores.items()},
        "best_scores": {
            path.name: score for path, score in zip(map(Path, photographs), scores["photographs"], strict=True)
        },
        "record": None if record is None else str(record),
    }


def find_photographs() -> list[str]:
    """Find the files of PHOTOGRAPHS.

    Raises:
        ConfigurationError: a package, or a file of it, is not installed.
    """
    paths = []
    for package, (folder, names) in PHOTOGRAPHS.items():
        spec = find_spec(package)
        root = Path(spec.origin).parent if spec else Path(package)
        paths += [root / folder / name for name in names.split()]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)}: not installed. The photographs are those of scikit-image 0.26, scikit-learn 1.9 "
            "and matplotlib 3.11: pip install scikit-image scikit-learn matplotlib"
        )
    return list(map(str, paths))


def best_scores(predictor: EGTRPredictor, paths: Iterable[str]) -> list[float]:
    """Predict images, and return the highest score of a triplet of each; 0 for an image without triplets."""
    found = []
    paths = list(paths)
    for result in tqdm(predictor.predict(paths), total=len(paths), unit="image", disable=None, leave=False):
        if result.error is not None:
            raise result.error
        found.append(float(result.graph.triplet_scores.max(initial=0.0)))
    return found
