"""Reasons to doubt the graph of an image, by the record of the model that found it."""

from .model_info import ModelInfo


def find_doubts(info: ModelInfo | None, best_score: float) -> dict[str, str]:
    """Say why the graph of an image may mean nothing.

    Args:
        info: the record of the model; None if there is none.
        best_score: the highest score of a triplet of the image, 0..1; 0 if there is no triplet.

    Returns:
        Sentences, as far as they apply. "domain": the model was trained on drawings. "score": its best score is far
        below the scores that it reaches on images that it knows (``photograph_threshold``).
    """
    if info is None:
        return {}
    name = f"the model {info.name}" if info.name else "the model"
    doubts = {}
    if info.domain == "drawings":
        doubts["domain"] = f"{name} was trained on drawings; its graphs of photographs mean little"
    threshold = info.photograph_threshold
    if threshold is not None and best_score < threshold:
        doubts["score"] = (
            f"{name} probably does not know images of this sort: its best relation scores {best_score:.3f} here, "
            f"but more than {threshold:.3f} on nearly all images that it knows"
        )
    return doubts
