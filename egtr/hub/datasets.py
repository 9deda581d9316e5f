"""Published datasets by name: annotations and images, as the library registers them.

A download that was cut continues: what has arrived waits in ``.<folder>.download`` beside the folder of the dataset.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from egtr.structures.errors import ConfigurationError
from egtr.structures.files import writing

from . import hub_dataset, visual_genome
from .cache import locked, remove_folder
from .consent import ask


@dataclass(frozen=True)
class Published:
    """A dataset that can be fetched.

    Attributes:
        name: what users type.
        annotations: the kind of its annotations, which tells datasets of one name apart: "coco" or "egtr".
        folder: its folder below that of all datasets; ``<folder>_train`` is the registered name of a split.
        addresses: the places that it comes from.
        description, licence: a sentence each, for people who fetch it.
        source: the module that fetches it, with ``is_complete``, ``count_bytes`` and ``fetch``.
    """

    name: str
    annotations: str
    folder: str
    addresses: tuple[str, ...]
    description: str
    licence: str
    source: ModuleType

    @property
    def registered(self) -> list[str]:
        """The names of its splits, for DATASETS.TRAIN and TEST."""
        return [f"{self.folder}_{split}" for split in hub_dataset.SPLITS]


def find_dataset(name: str, annotations: str = "coco") -> Published:
    """Find a dataset.

    Args:
        name: "vg150", "psg" or "indoorvg".
        annotations: "coco" or, for "vg150", "egtr".

    Raises:
        ConfigurationError: there is none of this name, or not with these annotations.
    """
    for each in DATASETS:
        if (each.name, each.annotations) == (name, annotations):
            return each
    known = ", ".join(f"{each.name} with {each.annotations}" for each in DATASETS)
    raise ConfigurationError(f"{name}: cannot be fetched with annotations {annotations}. Known are: {known}")


def get_dataset(dataset: Published, root: Path) -> Path:
    """Fetch a dataset, unless it is here.

    Args:
        dataset: see :func:`find_dataset`.
        root: the folder of all datasets.

    Returns:
        The folder of the dataset.

    Raises:
        DownloadError: something cannot be fetched, or is not what was expected. What has arrived stays.
        WriteError: there is no room, or no right to write.
        DataError: what has arrived is no such dataset.
    """
    folder, work = root / dataset.folder, _work_folder(dataset, root)
    with locked(root / f".{dataset.folder}"):
        if not dataset.source.is_complete(folder):
            with writing(root):
                work.mkdir(exist_ok=True)
                dataset.source.fetch(dataset.addresses, work, folder)
        remove_folder(work)
    return folder


def ask_for_dataset(dataset: Published, root: Path, agreed: bool = False) -> None:
    """Show size, origin and licence of a dataset on standard error, and ask the user, unless it is here.

    Raises:
        DownloadError: the user does not agree, cannot be asked, or the size cannot be found.
    """
    folder = root / dataset.folder
    if dataset.source.is_complete(folder):
        return

    def describe() -> str:
        size = dataset.source.count_bytes(dataset.addresses, _work_folder(dataset, root))
        lines = [
            f"{dataset.name}: {dataset.description}",
            f"  from      {', '.join(dataset.addresses)}: {size / 1e9:,.1f} GB",
            f"  licence   {dataset.licence}",
            f"  to        {folder}",
        ]
        return "\n".join(lines)

    command = f"egtr data get {dataset.name} --annotations {dataset.annotations}"
    ask(dataset.name, command, dataset.licence, describe, agreed)


def _work_folder(dataset: Published, root: Path) -> Path:
    return root / f".{dataset.folder}.download"


_VISUAL_GENOME = "annotations CC BY 4.0 (Visual Genome); photographs under the licences of their photographers"
DATASETS = (
    Published(
        "vg150",
        "coco",
        "vg150_coco",
        ("hf:maelic/VG150-coco-format",),
        "Visual Genome 150 of SGG-Benchmark: 73,538, 4,844 and 27,032 images in train, val and test",
        f"{_VISUAL_GENOME}; its publisher states MIT",
        hub_dataset,
    ),
    Published(
        "vg150",
        "egtr",
        "vg150",
        (
            "gdrive:1aGwEu392DiECGdvwaYr-LgqGLmWhn8yD",
            "https://cs.stanford.edu/people/rak248/VG_100K_2/images.zip",
            "https://cs.stanford.edu/people/rak248/VG_100K_2/images2.zip",
        ),
        "Visual Genome 150 as EGTR and RelTR train on it; 14 GB of images",
        _VISUAL_GENOME,
        visual_genome,
    ),
    Published(
        "psg",
        "coco",
        "psg_coco",
        ("hf:maelic/PSG-coco-format",),
        "Panoptic Scene Graph with boxes, of SGG-Benchmark: 45,564, 1,000 and 2,186 images",
        "annotations MIT (OpenPSG); photographs of COCO under Flickr's terms of use",
        hub_dataset,
    ),
    Published(
        "indoorvg",
        "coco",
        "indoorvg_coco",
        ("hf:maelic/IndoorVG-coco-format",),
        "IndoorVG of SGG-Benchmark, rooms of Visual Genome: 9,538, 733 and 4,403 images",
        _VISUAL_GENOME,
        hub_dataset,
    ),
)
