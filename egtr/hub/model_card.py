"""The card of a shared model: README.md, as the Hugging Face Hub reads it."""

import math
import re

from egtr.structures.model_info import ModelInfo

_PAPER = "https://arxiv.org/abs/2404.02072"
_DESCRIPTION = "A model that finds the objects of an image and the relations between them"
# Licences that the Hub has a name for; it refuses other names. Any other licence is "other" there.
_LICENCES = (
    "apache-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "gpl-3.0",
    "lgpl-3.0",
    "agpl-3.0",
    "mit",
    "mpl-2.0",
)
_LIMITS = {
    "drawings": "It was trained on drawings and has never seen a photograph: relations that it finds in one mean "
    "nothing.",
    "photographs": "It was trained on photographs, and knows only the classes and predicates below.",
}
_UNKNOWN_DOMAIN = (
    "The images that it was trained on are not stated. Look at its graphs of your images before you use it."
)


def write_model_card(info: ModelInfo, name: str) -> str:
    """Write the card of a model: what it knows, how to use it, its metrics, its limits and its names.

    Args:
        info: the record of the model.
        name: ``USER/REPOSITORY``, or the name of the folder that the model lies in.

    Returns:
        Markdown, which begins with the YAML that the Hub reads.
    """
    # Here, because importing this module must stay quick.
    from huggingface_hub import EvalResult, ModelCardData

    title = name.rpartition("/")[2]
    metrics = {key: value for key, value in info.metrics.items() if value is not None and math.isfinite(value)}
    data = ModelCardData(
        library_name="egtr",
        pipeline_tag="object-detection",
        tags=["scene-graph-generation", "visual-relationship-detection", *filter(None, [info.domain])],
        license=_licence_name(info.licence),
        model_name=title if metrics else None,
        eval_results=[
            EvalResult(
                task_type="object-detection",
                dataset_type=re.sub(r"[^a-z0-9]+", "-", (info.dataset or "unknown").lower()).strip("-") or "unknown",
                dataset_name=info.evaluated_on or info.dataset or "not stated",
                metric_type=key,
                metric_value=value,
            )
            for key, value in metrics.items()
        ]
        or None,
    )
    facts = {
        "trained on": info.domain,
        "dataset": info.dataset,
        "classes": _count(info.class_names),
        "predicates": _count(info.predicate_names),
        "licence": info.licence,
        "origin": info.origin,
        "written by": f"egtr {info.library_version}" if info.library_version else None,
    }
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {_plain(title)}",
        f"{_plain(info.description or _DESCRIPTION).rstrip('.')}. Method: [EGTR]({_PAPER}).",
        _table(("", ""), [(key, _plain(value or "not stated")) for key, value in facts.items()]),
        "## Use",
        _usage(name),
        "## Metrics",
        _metrics(info, metrics),
        "## Limits",
        _LIMITS.get(info.domain or "", _UNKNOWN_DOMAIN),
        "## Names",
        f"Classes: {_listed(info.class_names)}",
        f"Predicates: {_listed(info.predicate_names)}",
    ]
    return "\n\n".join(parts) + "\n"


def _usage(name: str) -> str:
    shared = "/" in name
    model, place = (f"hf:{name}", name) if shared else (f"{name}/config.yaml", name)
    return (
        f"```bash\negtr demo --model {model} --input photo.jpg --output output/graphs\n```\n\n"
        "```python\nfrom egtr import EGTRPredictor\n\n"
        f'model = EGTRPredictor.from_pretrained("{place}")\nprint(model("photo.jpg").for_display())\n```'
    )


def _metrics(info: ModelInfo, metrics: dict[str, float]) -> str:
    if not metrics:
        return "No metrics are stated."
    rows = [(_plain(key), f"{value:.2f}") for key, value in metrics.items()]
    return f"In percent, on {_plain(info.evaluated_on or 'images that are not stated')}.\n\n" + _table(
        ("metric", "value"), rows
    )


def _licence_name(licence: str | None) -> str | None:
    words = re.sub(r"[\s_]+", "-", (licence or "").strip().lower())
    if words in ("", "not-stated"):
        return None
    return words if words in _LICENCES else "other"


def _count(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else f"{len(names)}"


def _listed(names: tuple[str, ...] | None) -> str:
    return ", ".join(map(_plain, names)) + "." if names else "none are known."


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"| {left} | {right} |" for left, right in [head, ("---", "---"), *rows])


def _plain(text: str) -> str:
    """Keep text on one line and in its cell of a table, without markup."""
    text = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|`*\[\]])", r"\\\1", text)
