"""Conversion of a dataset dict into the input of the model, relations included."""

import copy
from collections.abc import Sequence
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode, Instances
from fvcore.transforms.transform import HFlipTransform, Transform

from egtr.structures import ConfigurationError, GroundTruth, not_crowd, remap_relations

from .annotated_image import read_annotated_image
from .catalog import get_metadata
from .resampling import PredicateResampling
from .transforms import build_augmentation

# A box with a side shorter than this many pixels after a crop is empty; longer ones are kept, as in DETR.
_MIN_BOX_SIDE = 1e-5


class SceneGraphMapper:
    """Read, augment and convert one image with its objects and relations.

    Called on a dataset dict (see :func:`egtr.data.datasets.to_dataset_dicts`), it returns a new one with
    ``image``, a uint8 tensor of shape (3, H, W) in the channel order of ``image_format``, and all other
    fields kept.

    In training ``instances`` (``gt_boxes`` XYXY in pixels of the transformed image, ``gt_classes``) replaces
    ``annotations``, and ``relations`` becomes an int64 tensor of shape (T, 3): subject, object, predicate, where
    subject and object index ``instances``. Crowd annotations and objects that a crop removed are dropped, together
    with their relations; so are duplicate relations. In evaluation annotations and relations stay as they are, and
    in tasks other than "sgdet" ``given`` holds what the model is given, see :func:`given_objects`.

    All random numbers come from numpy's global generator.

    Args:
        is_train: produce ``instances`` and ``relations`` as above.
        augmentations: the augmentations, applied in order.
        image_format: a format that :func:`detectron2.data.detection_utils.read_image` knows.
        flip_predicates: (R,) predicate ids: predicate p becomes entry p when the image is mirrored. None: mirroring
            changes no predicate. Turning an image upside down never does.
        one_predicate_per_pair: keep one predicate of each pair of objects, drawn at random.
        resampling: leaves out relations of frequent predicates; None: none is left out.
        max_pixels: largest image, see :func:`egtr.data.image.load_image`.
        task: what the model is given in evaluation: "sgdet", "sgcls" or "predcls".
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation],
        image_format: str = "RGB",
        flip_predicates: Sequence[int] | None = None,
        one_predicate_per_pair: bool = False,
        resampling: PredicateResampling | None = None,
        max_pixels: int | None = None,
        task: str = "sgdet",
    ):
        self.is_train = is_train
        self.augmentations = T.AugmentationList(list(augmentations))
        self.image_format = image_format
        self.flip_predicates = None if flip_predicates is None else np.asarray(flip_predicates, dtype=np.int64)
        self.one_predicate_per_pair = one_predicate_per_pair
        self.resampling = resampling
        self.max_pixels = max_pixels
        self.task = task

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        # Without a relation head nothing reads predicates, so that the datasets may differ in them.
        names = cfg.DATASETS.TRAIN if is_train and cfg.MODEL.EGTR.RELATION.ENABLED else ()
        return {
            "is_train": is_train,
            "augmentations": build_augmentation(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "flip_predicates": _common_flip_table(names),
            "one_predicate_per_pair": _one_predicate_per_pair(cfg.INPUT.PREDICATES_PER_PAIR, names),
            "max_pixels": cfg.INPUT.MAX_PIXELS,
            "task": cfg.TEST.SCENE_GRAPH.TASKS[0],
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map a dataset dict.

        Raises:
            BrokenImageError: the image cannot be read or has another size than the annotations say.
        """
        if not self.is_train:
            dataset_dict = copy.deepcopy(dataset_dict)
            image, _ = self._read_and_augment(dataset_dict)
            dataset_dict["image"] = _to_tensor(image)
            if self.task != "sgdet":
                dataset_dict["given"] = given_objects(dataset_dict, with_classes=self.task == "predcls")
            return dataset_dict

        # A shallow copy is enough: the nested lists are only read.
        dataset_dict = dict(dataset_dict)
        annotations = dataset_dict.pop("annotations", [])
        relations = dataset_dict.pop("relations", [])
        image, transforms = self._read_and_augment(dataset_dict)
        dataset_dict["image"] = _to_tensor(image)
        instances, kept = _make_instances(annotations, transforms, image.shape[:2])
        dataset_dict["instances"] = instances
        dataset_dict["relations"] = self._make_relations(relations, kept, transforms, dataset_dict)
        return dataset_dict

    def _read_and_augment(self, dataset_dict: dict[str, Any]) -> tuple[np.ndarray, Transform]:
        """Read and transform the image, (H, W, 3) uint8; add its original size to the dict if missing."""
        image = read_annotated_image(dataset_dict, self.image_format, self.max_pixels)
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        return aug_input.image, transforms

    def _make_relations(
        self,
        relations: Sequence[Sequence[int]],
        kept: np.ndarray,
        transforms: Transform,
        dataset_dict: dict[str, Any],
    ) -> torch.Tensor:
        # dict.fromkeys drops duplicates and keeps the order.
        where = f"{dataset_dict['file_name']} (image id {dataset_dict.get('image_id')})"
        rows = remap_relations(list(dict.fromkeys(map(tuple, relations))), kept, where)
        if self.one_predicate_per_pair:
            rows = _draw_one_per_pair(rows)
        if self.resampling is not None:
            rows = self.resampling.thin_out(rows, self.resampling.repeats(relations))
        if self.flip_predicates is not None and _is_mirrored(transforms):
            rows[:, 2] = self.flip_predicates[rows[:, 2]]
        return torch.from_numpy(rows)


def given_objects(dataset_dict: dict[str, Any], *, with_classes: bool) -> Instances:
    """Return the annotated objects that a model is given, in the order of :class:`~egtr.structures.GroundTruth`.

    Objects without a relation are among them, also if they repeat another one. Crowds are not.

    Args:
        dataset_dict: with ``height``, ``width`` and ``annotations``.
        with_classes: give the classes, too ("predcls"); otherwise each is -1, unknown ("sgcls").

    Returns:
        Instances of n objects, which may be 0: pred_boxes, xyxy in pixels of the image file, and pred_classes, (n,)
        int64.

    Raises:
        DataError: the dict has no annotations.
    """
    truth = GroundTruth.from_dict(dataset_dict)
    classes = torch.from_numpy(truth.classes)
    given = Instances((dataset_dict["height"], dataset_dict["width"]))
    given.pred_boxes = Boxes(torch.from_numpy(truth.boxes))
    given.pred_classes = classes if with_classes else torch.full_like(classes, -1)
    return given


def flip_table(dataset_name: str) -> np.ndarray | None:
    """Make the table of predicate ids after mirroring from ``flip_predicate_pairs`` in the dataset's metadata.

    ``flip_predicate_pairs`` lists pairs of predicate names, such as ("left of", "right of"). They are exchanged only
    in horizontal flips; there is no such list for vertical flips and ("above", "below").

    Returns:
        (R,) int64; None if the dataset names no pairs.

    Raises:
        ConfigurationError: the list has another form, or a name is not a predicate of the dataset or in two pairs.
    """
    metadata = get_metadata(dataset_name)
    pairs = metadata.get("flip_predicate_pairs")
    if not pairs:
        return None
    where = f"Metadata of {dataset_name!r}, field flip_predicate_pairs"
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise ConfigurationError(f'{where}: write pairs of names, such as [["left of", "right of"]], not {pairs!r}.')
    names = list(metadata.predicate_classes)
    table = np.arange(len(names))
    for first, second in pairs:
        for name in (first, second):
            if name not in names:
                raise ConfigurationError(f"{where}: {name!r} is not among its predicate_classes.")
            if table[names.index(name)] != names.index(name):
                raise ConfigurationError(
                    f"{where}: {name!r} is in two pairs; it can trade places with only one predicate."
                )
        table[names.index(first)], table[names.index(second)] = names.index(second), names.index(first)
    return table


def _common_flip_table(dataset_names: Sequence[str]) -> np.ndarray | None:
    """Return the :func:`flip_table` that all datasets of a training share, since a predicate has one meaning."""
    tables = [flip_table(name) for name in dataset_names]
    for name, table in zip(dataset_names, tables, strict=True):
        if not np.array_equal(table, tables[0]):
            raise ConfigurationError(
                f"Datasets {dataset_names[0]!r} and {name!r} (DATASETS.TRAIN) differ in the metadata "
                "flip_predicate_pairs. Set the same pairs for both, or train on one of them."
            )
    return tables[0] if tables else None


def _one_predicate_per_pair(choice: str, dataset_names: Sequence[str]) -> bool:
    """Resolve INPUT.PREDICATES_PER_PAIR, where "auto" asks the metadata of the datasets."""
    if choice not in ("auto", "all", "one"):
        raise ConfigurationError(f"INPUT.PREDICATES_PER_PAIR is {choice!r}; take 'auto', 'all' or 'one'.")
    if choice != "auto":
        return choice == "one"
    wishes = {name: bool(get_metadata(name).get("one_predicate_per_pair")) for name in dataset_names}
    if len(set(wishes.values())) > 1:
        one, all_ = (next(name for name in wishes if wishes[name] is wish) for wish in (True, False))
        raise ConfigurationError(
            f"Datasets {one!r} and {all_!r} (DATASETS.TRAIN) differ in the metadata one_predicate_per_pair, which "
            "only the first one has. Set INPUT.PREDICATES_PER_PAIR to 'one' or 'all'."
        )
    return any(wishes.values())


def _draw_one_per_pair(relations: np.ndarray) -> np.ndarray:
    """Draw one of the rows with the same subject and object: (T, 3) to (U, 3), in the same order."""
    shuffled = np.random.permutation(len(relations))
    _, first = np.unique(relations[shuffled, :2], axis=0, return_index=True)
    return relations[np.sort(shuffled[first])]


def _make_instances(
    annotations: Sequence[dict[str, Any]], transforms: Transform, image_size: tuple[int, int]
) -> tuple[Instances, np.ndarray]:
    """Transform the objects of A annotations; return the remaining objects, and an (A,) bool mask of them."""
    height, width = image_size
    # Detectron2's transforms write into the array, so that integers would be truncated.
    boxes = np.array(
        [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations], dtype=np.float64
    )
    boxes = np.clip(transforms.apply_box(boxes.reshape(-1, 4)), 0, (width, height, width, height))
    kept = (boxes[:, 2:] - boxes[:, :2] > _MIN_BOX_SIDE).all(axis=1) & not_crowd(annotations)
    classes = np.array([a["category_id"] for a in annotations], dtype=np.int64)

    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.from_numpy(boxes[kept].astype(np.float32)))
    instances.gt_classes = torch.from_numpy(classes[kept])
    return instances, kept


def _is_mirrored(transforms: Transform) -> bool:
    steps = getattr(transforms, "transforms", [transforms])
    return sum(isinstance(step, HFlipTransform) for step in steps) % 2 == 1


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    # np.ascontiguousarray would leave a flipped image of one pixel with negative strides.
    return torch.from_numpy(image.transpose(2, 0, 1).copy())
