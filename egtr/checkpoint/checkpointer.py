"""Reading and writing weights."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from detectron2.checkpoint import DetectionCheckpointer
from safetensors import SafetensorError
from safetensors.torch import load_file
from tabulate import tabulate
from torch import nn

from egtr.config.keys import NO_WEIGHTS
from egtr.config.loading import load_config
from egtr.config.paths import fetch
from egtr.structures import EGTRError, WeightsError
from egtr.structures.files import replacing

from .files import check_finite, list_checkpoints, verify_checkpoint, write_checkpoint
from .foreign import is_safetensors, is_zip, refuse_foreign
from .pickles import load_arrays, load_torch_file
from .references import points_to_boxes
from .wrappers import clean_names, find_weights, strip_wrapper

logger = logging.getLogger(__name__)


class EGTRCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer that also reads ``.safetensors`` and never runs code from a file.

    Weights are matched by name and shape. Weights that do not fit are logged, and the model keeps its own; it is an
    error if nothing in the file fits. Weights in half precision take the precision of the model. A path may be any
    path that Detectron2's ``PathManager`` knows, such as ``egtr://weights/<file>``. A configuration, such as
    ``egtr://models/<name>``, stands for its MODEL.WEIGHTS.

    Args:
        model, save_dir, save_to_disk, checkpointables: as in Detectron2.
        warn: log fvcore's warnings about weights that do not fit; the trainer has a table in their place.

    Attributes:
        incompatible: the keys that the last :meth:`load` could not match (``missing_keys``, ``unexpected_keys``,
            ``incorrect_shapes``); None before the first one.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        warn: bool = True,
        **checkpointables,
    ):
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self._warn = warn
        self.incompatible = None

    def load(self, path: str, *args, **kwargs) -> dict[str, Any]:
        """Load a checkpoint, as in Detectron2.

        Raises:
            WeightsError: there is no such file, it is not a checkpoint, or nothing in it fits the model.
        """
        if path:
            # After the question mark are options of Detectron2.
            local = fetch(path.partition("?")[0], NO_WEIGHTS, WeightsError)
            if local.endswith((".yaml", ".yml")):
                path = _weights_of(local)
        try:
            return super().load(path, *args, **kwargs)
        finally:
            # Detectron2 leaves it set if reading fails, and then refuses every later load.
            self._parsed_url_during_load = None

    def check_complete(self, path: str) -> None:
        """Raise if the loaded file lacks some of the model's parameters, which would stay random.

        Args:
            path: the file, for the message.

        Raises:
            WeightsError: the file lacks parameters of the model.
        """
        missing = find_new_parameters(self.model, self.incompatible)
        if missing:
            raise WeightsError(
                f"{path}: lacks {len(missing)} parameters of the model, or has them in another shape; the first is "
                f"{missing[0]}. Set MODEL.WEIGHTS to weights that were trained with this configuration, or take "
                "the configuration that they were trained with"
            )

    def save(self, name: str, **extra: Any) -> None:
        """Save a checkpoint, as in Detectron2, but keep the previous one until the new one can be read.

        Raises:
            WriteError: it cannot be written, such as on a full disk.
            WeightsError: it holds weights that are not finite.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        check_finite(self.model, f"{name}.pth")
        state = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        write_checkpoint(path, {"model": self.model.state_dict(), **state, **extra})
        self.tag_last_checkpoint(f"{name}.pth")

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the last checkpoint, as in Detectron2, but never write half a file."""
        with replacing(os.path.join(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def has_checkpoint(self) -> bool:
        """Tell if there is a checkpoint to resume from, even a damaged one."""
        return bool(self.save_dir) and bool(list_checkpoints(self.save_dir))

    def get_checkpoint_file(self) -> str:
        """Find the checkpoint to resume from: the last one, or the newest intact one before it; "" if there is none.

        Raises:
            WeightsError: all of them are damaged.
        """
        paths = list_checkpoints(self.save_dir)
        for path in paths:
            try:
                load_checkpoint_file(path)
            except EGTRError as error:
                logger.warning("%s. Trying the one before it", error)
            else:
                return path
        if paths:
            raise WeightsError(
                f"{self.save_dir}: none of the {len(paths)} checkpoints can be read, {paths[0]} and so on. Restore "
                "one from a backup, or start again without --resume"
            )
        return ""

    def save_weights(self, name: str, model: nn.Module | None = None, **extra: Any) -> str:
        """Write only a model, and ``extra`` plain values, to ``<save_dir>/<name>.pth``.

        Unlike the file of :meth:`save`, this one does not become the checkpoint from which a run resumes.

        Args:
            name: name of the file.
            model: the model; None: the one of the checkpointer.

        Returns:
            The path of the file.

        Raises:
            WriteError: it cannot be written, such as on a full disk.
            WeightsError: it holds weights that are not finite.
        """
        path = os.path.join(self.save_dir, f"{name}.pth")
        if self.save_dir and self.save_to_disk:
            check_finite(model or self.model, f"{name}.pth")
            write_checkpoint(path, {"model": (model or self.model).state_dict(), **extra})
        return path

    def _load_file(self, filename: str) -> dict[str, Any]:
        refuse_foreign(filename, may_be_text=filename.endswith(".pkl"))
        if filename.endswith(".pkl"):
            if is_zip(filename):
                return load_checkpoint_file(filename)
            data = load_arrays(filename)
            # A backbone of Caffe2, as in the model zoo of Detectron2: its names are translated on loading.
            blobs = data.get("blobs", data)
            weights = {name: value for name, value in blobs.items() if not name.endswith("_momentum")}
            caffe2 = {"__author__": "Caffe2", "matching_heuristics": True}
            for key in ("model", "state_dict"):
                if key in data:
                    weights, caffe2 = data[key], {}
            strange = [name for name, value in weights.items() if not isinstance(value, np.ndarray)]
            if strange:
                raise WeightsError(f"{filename}: {strange[0]!r} is no array. Save it as {{'model': arrays by name}}")
            return {"model": weights, **caffe2}
        if filename.endswith(".pyth"):
            # Detectron2 reads these files itself, not by _torch_load.
            raise WeightsError(f"{filename}: files of pycls are not read. Save the weights as .pth: {{'model': ...}}")
        return super()._load_file(filename)

    def _torch_load(self, filename: str) -> dict[str, Any]:
        return load_checkpoint_file(filename)

    def _load_model(self, checkpoint: dict[str, Any]):
        own = self.model.state_dict()
        weights = strip_wrapper(checkpoint["model"], own.keys())
        checkpoint["model"] = points_to_boxes(weights, {name: value.shape for name, value in own.items()})
        number = len(checkpoint["model"])
        self.incompatible = incompatible = super()._load_model(checkpoint)
        refused = len(incompatible.unexpected_keys) + len(incompatible.incorrect_shapes)
        if number and refused >= number:
            raise WeightsError(
                f"None of the {number} tensors of the checkpoint fits the model. It is of another model, "
                "or of the released EGTR code, whose names egtr.checkpoint.convert_state_dict translates"
            )
        unused = [*incompatible.unexpected_keys, *(name for name, *_ in incompatible.incorrect_shapes)]
        first = f", {unused[0]} the first" if unused else ""
        logger.info("Loaded %d tensors; %d of the checkpoint were not used%s", number - refused, refused, first)
        return incompatible

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        if self._warn:
            super()._log_incompatible_keys(incompatible)


def _weights_of(config_file: str) -> str:
    weights = load_config(config_file).MODEL.WEIGHTS
    if not weights:
        raise WeightsError(
            f"{config_file}: its MODEL.WEIGHTS is empty. Name a model with weights, or a file of weights"
        )
    return weights


def load_checkpoint_file(filename: str) -> dict[str, Any]:
    """Read a safetensors or ``torch.save`` file into a dict with the key ``model``.

    The content decides about the format, not the ending of the name. Weights may be under the keys that other tools
    use (``state_dict``, ``model_ema``, ``ema``, ...), and their names may have been changed by torch.compile and
    DataParallel. ``docs/troubleshooting.md`` lists them.

    Raises:
        WeightsError: the file cannot be read as weights.
    """
    refuse_foreign(filename)
    if is_safetensors(filename) or (filename.endswith(".safetensors") and not is_zip(filename)):
        try:
            return {"model": clean_names(load_file(filename))}
        except SafetensorError as error:
            raise WeightsError(f"{filename}: not a safetensors file ({error}). Fetch or export it again") from error
    try:
        # torch does not notice numbers that have changed on the disk.
        verify_checkpoint(filename)
    except EGTRError as error:
        raise WeightsError(f"{error}. Fetch or save it again") from error
    content = load_torch_file(
        filename, "Only tensors and plain Python values are read: save it again as {'model': model.state_dict()}"
    )
    if not isinstance(content, Mapping):
        raise WeightsError(f"{filename}: holds a {type(content).__name__}, expected a dict of tensors")
    found = find_weights(content)
    if found is None:
        raise WeightsError(
            f"{filename}: holds no single set of weights, only {', '.join(map(str, content)) or 'an empty dict'}. "
            "Save it again as {'model': model.state_dict()}"
        )
    weights, keys = found
    if keys == ("model",):
        # A checkpoint of a run, which has more beside it.
        return {**content, "model": clean_names(weights)}
    if keys:
        logger.info("%s: the weights are those under %s", filename, ", ".join(map(repr, keys)))
    return {"model": clean_names(weights)}


def find_new_parameters(model: nn.Module, incompatible: Any) -> list[str]:
    """List the parameters that a checkpoint lacks or has in another shape, in the order of the model.

    A shared parameter is not new if the checkpoint has it under any of its names.

    Args:
        model: the model.
        incompatible: :attr:`EGTRCheckpointer.incompatible` after loading.
    """
    absent = {*incompatible.missing_keys, *(name for name, *_ in incompatible.incorrect_shapes)}
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return [aliases[0] for aliases in names.values() if absent.issuperset(aliases)]


def new_parameter_table(model: nn.Module, names: Iterable[str], incompatible: Any) -> str:
    """Tabulate the parameters that a checkpoint lacks, for the log.

    Args:
        model: the model.
        names: the names of :func:`find_new_parameters`.
        incompatible: :attr:`EGTRCheckpointer.incompatible` after loading.

    Returns:
        One line for each parameter: name, shape in the model, shape in the checkpoint ("-" if it is missing).
    """
    found = {name: tuple(shape) for name, shape, _ in incompatible.incorrect_shapes}
    parameters = dict(model.named_parameters())
    rows = [(name, tuple(parameters[name].shape), found.get(name, "-")) for name in names]
    return tabulate(rows, headers=["parameter", "shape", "in the checkpoint"])
