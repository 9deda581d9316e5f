"""Pictures and JSON files of many graphs."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path

from tqdm.auto import tqdm

from egtr.data.image import load_image
from egtr.structures import EGTRError, SceneGraph

from .draw import save_scene_graph


def export_scene_graphs(
    predict: Callable[..., SceneGraph],
    paths: Sequence[str],
    output_dir: str | os.PathLike[str],
    *,
    min_score: float | None = None,
    top_k: int | None = 20,
    merge_iou: float | None = 0.7,
    show_scores: bool = False,
    progress: bool = True,
) -> tuple[list[Path], list[str]]:
    """Write ``<stem>.png`` (picture and graph) and ``<stem>.json`` (the same graph) for every picture.

    A picture that cannot be read is passed over with one line on standard error. Of pictures with one stem the
    later ones are called ``<stem>_2`` and so on.

    Args:
        predict: ``predict(array, channel_order="RGB")`` returns the graph of an (H, W, 3) uint8 array, such as an
            :class:`egtr.engine.predictor.EGTRPredictor`.
        paths: files of pictures.
        output_dir: made if it does not exist.
        min_score, top_k, merge_iou: see :meth:`egtr.structures.SceneGraph.for_display`.
        show_scores: see :func:`egtr.visualization.draw_scene_graph`.
        progress: show a progress bar.

    Returns:
        The PNG files written, in the order of ``paths``, and the paths that could not be read.

    Raises:
        EGTRError: a file to be written is one of ``paths``; nothing has been written then.
    """
    output_dir = Path(output_dir)
    targets = [output_dir / stem for stem in _unique_stems(paths)]
    inputs = {os.path.realpath(path) for path in paths}
    for target in targets:
        for suffix in (".png", ".json"):
            if os.path.realpath(f"{target}{suffix}") in inputs:
                raise EGTRError(f"{target}{suffix}: is one of the pictures to read; choose another output folder")
    output_dir.mkdir(parents=True, exist_ok=True)

    written, failed = [], []
    for path, target in zip(tqdm(paths, unit="picture", disable=not progress), targets, strict=True):
        try:
            image = load_image(path)
        except EGTRError as error:
            # through tqdm, or the line lands in the middle of the bar
            tqdm.write(str(error), file=sys.stderr)
            failed.append(path)
            continue
        graph = predict(image, channel_order="RGB").for_display(min_score, top_k, merge_iou)
        graph.file_name = path
        png = Path(f"{target}.png")
        save_scene_graph(png, image, graph, show_scores=show_scores)
        Path(f"{target}.json").write_text(json.dumps(graph.to_dict(), indent=1, ensure_ascii=False), "utf-8")
        written.append(png)
    return written, failed


def _unique_stems(paths: Sequence[str]) -> list[str]:
    stems: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = Path(path).stem
        numbered = chain([stem], (f"{stem}_{n}" for n in count(2)))
        # some file systems take "Dog" and "dog" for one name
        stems.append(next(name for name in numbered if name.casefold() not in taken))
        taken.add(stems[-1].casefold())
    return stems
