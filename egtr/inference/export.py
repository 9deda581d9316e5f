"""Writing the graphs of many images: a drawing of each, and the graph itself as JSON or GraphML beside it."""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import count
from pathlib import Path

from tqdm.auto import tqdm

from egtr.data.image import find_images
from egtr.data.sources import MEDIA_SUFFIXES, VIDEO_SUFFIXES, ImageStream
from egtr.structures import ConfigurationError, EGTRError, Predictor, SceneGraph
from egtr.structures.files import writing

IMAGE_SUFFIXES = (".png", ".jpg", ".pdf", ".svg")
GRAPH_SUFFIXES = (".json", ".graphml")

# The end of the stem that frame_stem gives to a frame.
_FRAME = re.compile(r"_frame\d{6,}$")


def export_scene_graphs(
    predictor: Predictor,
    paths: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    suffix: str = ".png",
    graph_suffixes: Collection[str] = (".json",),
    select: Callable[[SceneGraph], SceneGraph] = SceneGraph.for_display,
    show_scores: bool = False,
    batch_size: int = 1,
    threads: int = 1,
    progress: bool = True,
    on_error: Callable[[EGTRError], None] | None = None,
) -> tuple[list[Path], list[EGTRError]]:
    """Write ``<stem>.png``, the image with its graph, and ``<stem>.json``, the same graph, for every image.

    An image that cannot be read is skipped. If several images have the same stem, the files of the later ones are
    called ``<stem>_2`` and so on (:func:`unique_stems`); those of frames ``<stem>_frame000012``.

    Args:
        predictor: the model, see :class:`egtr.structures.Predictor`.
        paths: images, folders and patterns, see :func:`egtr.data.image.find_images`.
        output: a folder, made if it does not exist. For a single image it may be the file to write, with a suffix of
            IMAGE_SUFFIXES, or with ``suffix``; the files of the graph are then written beside it.
        suffix: suffix of the drawings, one of IMAGE_SUFFIXES; one of ``graph_suffixes``: nothing is drawn.
        graph_suffixes: suffixes of the files with the graph itself, each one of GRAPH_SUFFIXES.
        select: function of a graph that returns the part to draw and write.
        show_scores: see :func:`egtr.visualization.draw_scene_graph`.
        batch_size, threads: see :meth:`egtr.inference.EGTRPredictor.predict`.
        progress: show a progress bar.
        on_error: called with the error of each image that cannot be read; None: the error is printed as one line on
            standard error, above the progress bar.

    Returns:
        The drawings written (the graphs, if nothing is drawn), in order, and an error for each image that could not
        be read.

    Raises:
        ConfigurationError: before anything is written: a suffix is not in these lists, a file to write is one of
            ``paths``, or ``output`` is a file although there are several images.
        WriteError: a file cannot be written, as on a full disk; those before it stay.
    """
    is_drawn = suffix not in graph_suffixes
    for wrong in {suffix} - {*IMAGE_SUFFIXES, *graph_suffixes} | {*graph_suffixes} - {*GRAPH_SUFFIXES}:
        raise ConfigurationError(
            f"suffix {wrong!r} is none that can be written; images are {', '.join(IMAGE_SUFFIXES)}, graphs "
            f"{', '.join(GRAPH_SUFFIXES)}"
        )
    paths = find_images(paths)
    targets = _choose_targets(paths, Path(output), suffix)
    _check_targets(paths, targets, graph_suffixes)

    written, errors = [], []
    images = ImageStream(paths)
    results = predictor.predict(images, batch_size=batch_size, threads=threads)
    for result in tqdm(results, total=images.total, unit="image", disable=not progress):
        if result.error is not None:
            (on_error or _print_error)(result.error)
            errors.append(result.error)
            continue
        graph = select(result.graph)
        target = targets[graph.file_name]
        target = target.with_name(f"{frame_stem(target.stem, graph)}{target.suffix}")
        if is_drawn:
            # Here, since graphs as such need no matplotlib.
            from egtr.visualization.draw import save_scene_graph

            save_scene_graph(target, result.image, graph, show_scores=show_scores)
        else:
            with writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
        for graph_suffix in graph_suffixes:
            save_graph(target.with_suffix(graph_suffix), graph)
        written.append(target)
    return written, errors


def save_graph(path: str | os.PathLike[str], graph: SceneGraph) -> None:
    """Write a graph as ``.json`` (docs/scene_graph_json.md) or ``.graphml`` (yEd, Gephi, Cytoscape, networkx).

    Raises:
        ConfigurationError: the suffix is neither of these.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".json":
        text = json.dumps(graph.to_dict(), indent=1, ensure_ascii=False) + "\n"
        # A file name that is not valid UTF-8 has characters that can only be written as the escapes of JSON.
        with writing(path):
            path.write_text(text, "utf-8", errors="backslashreplace")
    elif path.suffix == ".graphml":
        # Here, since JSON needs no networkx.
        import networkx as nx

        with writing(path):
            nx.write_graphml(graph.to_networkx(), path)
    else:
        raise ConfigurationError(f"{path}: graphs are written as {' or '.join(GRAPH_SUFFIXES)}")


def _print_error(error: EGTRError) -> None:
    # Through tqdm, or the line lands in the middle of the bar.
    tqdm.write(str(error), file=sys.stderr)


def _choose_targets(paths: Sequence[str], output: Path, suffix: str) -> dict[str, Path]:
    suffixes = {*MEDIA_SUFFIXES, *IMAGE_SUFFIXES, suffix}
    if output.suffix.lower() not in suffixes or output.is_dir():
        return {p: output / f"{stem}{suffix}" for p, stem in zip(paths, unique_stems(paths), strict=True)}
    if len(paths) != 1:
        raise ConfigurationError(f"{output}: is one file, but there are {len(paths)} images; give a folder")
    if output.suffix.lower() not in (*IMAGE_SUFFIXES, suffix):
        raise ConfigurationError(f"{output}: images are written as {', '.join(IMAGE_SUFFIXES)}; take one of these")
    return {paths[0]: output}


def _check_targets(paths: Iterable[str], targets: dict[str, Path], graph_suffixes: Iterable[str]) -> None:
    inputs = {os.path.realpath(path) for path in paths}
    for target in targets.values():
        for path in (target, *(target.with_suffix(suffix) for suffix in graph_suffixes)):
            if os.path.realpath(path) in inputs:
                raise ConfigurationError(f"{path}: is one of the images to read; choose another output folder")


def frame_stem(stem: str, graph: SceneGraph) -> str:
    """Add the number of the frame to the stem, for a frame of a video."""
    return stem if graph.frame is None else f"{stem}_frame{graph.frame:06d}"


def unique_stems(paths: Sequence[str]) -> list[str]:
    """Name the results of each path: by its stem, or with a number where an earlier path has the same stem.

    A numbered name is never the stem of another path: of ``a.jpg a.png a_2.jpg``, the results of ``a.png`` are
    called ``a_3``. Nor can the frames of a video be taken for an image: with ``clip.mp4`` and
    ``clip_frame000001.png``, the results of the video are called ``clip_2``.
    """
    own = [_fold(Path(path).stem) for path in paths]
    stems: list[str] = []
    taken: set[str] = set()
    of_frames = {name.rpartition("_frame")[0] for name in own if _FRAME.search(name)}
    for path, folded in zip(paths, own, strict=True):
        stem, is_video = Path(path).stem, path.lower().endswith(VIDEO_SUFFIXES)
        free = folded not in taken and not (is_video and folded in of_frames)
        others = taken.union(own, of_frames)
        numbered = (f"{stem}_{n}" for n in count(2))
        stems.append(stem if free else next(name for name in numbered if _fold(name) not in others))
        taken.add(_fold(stems[-1]))
    return stems


def _fold(name: str) -> str:
    # Some file systems take "Dog" and "dog" for the same name, or the two spellings of "é" in Unicode.
    return unicodedata.normalize("NFC", name).casefold()
