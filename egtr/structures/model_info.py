"""The record that goes with a model everywhere: the images it knows, its names, its licence and its metrics."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .errors import WeightsError
from .files import replacing, writing

if TYPE_CHECKING:
    import jsonschema

# Increased if a reader of the previous version would misread a record, but not if fields are only added.
FORMAT_VERSION = 1
# Name of the file beside the weights.
FILE_NAME = "model_info.json"
# Name of the text in the metadata of safetensors and ONNX files.
METADATA_KEY = "model_info"


@dataclass(frozen=True)
class ModelInfo:
    """Describe a trained model: the images it knows, its names, its metrics. Every field may be missing.

    ``model_info.schema.json`` describes the JSON form. Fields of a file that this version does not know are kept in
    ``unknown``, and written again.

    Attributes:
        name: the name in the catalogue.
        description: the model in one sentence.
        class_names, predicate_names: C and R names in the order of their indices; None if they are not known, and for
            the predicates of a detector.
        preprocessing: ``format`` ("RGB" or "BGR"), ``min_size`` and ``max_size`` (or ``fixed_size``, height and
            width) in pixels, ``pixel_mean`` and ``pixel_std`` for pixels from 0 to 255.
        domain: "photographs" or "drawings": the images that the model was trained on.
        dataset: the dataset that it was trained on.
        licence: the licence of the weights in words; "not stated" if their publisher states none.
        origin: who published the weights, and where.
        metrics: metric by name, in percent.
        evaluated_on: the images that the metrics were measured on.
        library_version: the version of egtr that wrote the record.
        display_threshold: lowest score of a triplet that is worth showing, 0..1.
        photograph_threshold: if the best triplet of an image has a lower score, 0..1, the image is probably of a sort
            that the model does not know.
        calibration: how scores become probabilities.
        unknown: further fields.
    """

    name: str | None = None
    description: str | None = None
    class_names: tuple[str, ...] | None = None
    predicate_names: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None
    domain: str | None = None
    dataset: str | None = None
    licence: str | None = None
    origin: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    evaluated_on: str | None = None
    library_version: str | None = None
    display_threshold: float | None = None
    photograph_threshold: float | None = None
    calibration: Mapping[str, Any] | None = None
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, record: Any, where: str = "model record") -> Self:
        """Make a record from its JSON form, which :meth:`to_dict` returns.

        Args:
            record: the parsed JSON.
            where: the file, for the message.

        Raises:
            WeightsError: ``record`` does not fit the schema, or is of a version that this release does not know.
        """
        if not isinstance(record, Mapping):
            raise WeightsError(f"{where}: holds a {type(record).__name__}, but a model record is a JSON object")
        if record.get("version") != FORMAT_VERSION:
            raise WeightsError(
                f"{where}: version is {record.get('version')!r}, but this egtr reads {FORMAT_VERSION}. Update egtr, "
                "or write the record in that version"
            )
        error = next(_validator().iter_errors(record), None)
        if error is not None:
            path = error.json_path.removeprefix("$.")
            raise WeightsError(f"{where}: {path}: {error.message:.200}. Correct the field, or leave it out")
        known = {each.name for each in fields(cls)} - {"unknown"}
        values = {key: value for key, value in record.items() if key in known}
        for key in ("class_names", "predicate_names"):
            if values.get(key) is not None:
                values[key] = tuple(values[key])
        rest = {key: value for key, value in record.items() if key not in known and key != "version"}
        return cls(**values, unknown=rest)

    @classmethod
    def from_json(cls, text: str, where: str = "model record") -> Self:
        """Make a record from text, as :meth:`to_json` writes it. For arguments and errors see :meth:`from_dict`."""
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{where}: is no JSON ({error}). Fetch or write it again") from error
        return cls.from_dict(record, where)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read a ``model_info.json``.

        Raises:
            WeightsError: the file cannot be read, or is no record.
        """
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{path}: cannot be read ({error}). Fetch or write it again") from error
        return cls.from_json(text, str(path))

    @classmethod
    def find(cls, weights: str | os.PathLike) -> Self | None:
        """Read the record of a weight file.

        It is looked for in the metadata of a safetensors file, then beside the file: in ``<stem>.model_info.json``,
        for a folder with several models, then in ``model_info.json``.

        Args:
            weights: path of the weights; it need not exist.

        Returns:
            The record; None if there is none.

        Raises:
            WeightsError: there is a record that cannot be used.
        """
        path = Path(weights)
        text = _read_safetensors_metadata(path)
        if text is not None:
            return cls.from_json(text, f"{path}: metadata {METADATA_KEY}")
        for beside in (path.with_name(f"{path.stem}.{FILE_NAME}"), path.with_name(FILE_NAME)):
            if beside.is_file():
                return cls.load(beside)
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; fields that are not known are left out."""
        record = asdict(self)
        rest = record.pop("unknown")
        known = {key: value for key, value in record.items() if value is not None and value != {}}
        for key in ("class_names", "predicate_names"):
            if key in known:
                known[key] = list(known[key])
        return {"version": FORMAT_VERSION, **known, **rest}

    def to_json(self) -> str:
        """Return the JSON form as text, for metadata."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def save(self, path: str | os.PathLike) -> None:
        """Write a ``model_info.json``.

        Raises:
            WriteError: it cannot be written.
        """
        with writing(path), replacing(path) as file:
            file.write(f"{self.to_json()}\n".encode())

    def merged(self, other: "ModelInfo") -> Self:
        """Return this record with the fields of ``other`` wherever ``other`` has them."""
        given = {each.name: getattr(other, each.name) for each in fields(other)}
        given = {key: value for key, value in given.items() if value is not None and value != {}}
        return replace(self, **given | {"unknown": {**self.unknown, **other.unknown}})


def read_schema() -> dict[str, Any]:
    """Read the JSON Schema that comes with the package."""
    return json.loads(files(__package__).joinpath("model_info.schema.json").read_text("utf-8"))


@cache
def _validator() -> "jsonschema.Validator":
    # Here, because importing egtr.structures must stay quick.
    import jsonschema

    return jsonschema.Draft202012Validator(read_schema())


def _read_safetensors_metadata(path: Path) -> str | None:
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    # Here, for the same reason.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get(METADATA_KEY)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}). Fetch or export it again") from error
