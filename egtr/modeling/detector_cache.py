"""The output of a frozen detector, kept on disk, so that it runs once for many trainings."""

import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from detectron2.structures import ImageList
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from egtr.structures.files import replacing

from .transformer.build import TransformerOutput

logger = logging.getLogger(__name__)


class DetectorCache:
    """A folder with a file for each image that a frozen detector has seen.

    When only the relation part is trained, nearly all time goes into the detector, whose output for an image never
    changes. The name of a file is a hash of the image's normalised pixels and of the detector's weights, so one
    folder may serve several datasets, sizes and detectors, and several processes at once.

    Settings that change the output but no weight (such as TRANSFORMER.NHEADS) need separate folders. Weights may be
    loaded, replaced or changed at any time, except in place through ``.data``, which PyTorch does not record.

    A damaged file is made again. The numbers of an intact file are not checked, so no other program may write into
    the folder.

    The detector sees each image by itself, in float32: without padding and without mixed precision, as in evaluation
    on one device.

    Args:
        folder: created with the first file.
        detector: the modules of the detector.
    """

    def __init__(self, folder: str | Path, detector: Iterable[nn.Module]):
        self.folder = Path(folder)
        self._detector = list(detector)
        self._state: list[tuple[int, int]] = []
        self._weights: list[Tensor] = []
        self._fingerprint = b""

    def __call__(self, images: ImageList, detect: Callable[[Tensor], TransformerOutput]) -> TransformerOutput:
        """Return the detector's output for a batch: from the folder if possible, else from the detector.

        Args:
            images: B normalised images.
            detect: computes the output for one image, a (3, H, W) tensor.

        Returns:
            ``logits``, ``pred_boxes`` and ``hidden_states`` of only the last layer, all ``queries`` and ``keys``, an
            empty ``memory`` (B, 0, d) and no proposals.
        """
        weights = self._weights_fingerprint()
        found = [self._get(images[index], weights, detect) for index in range(len(images))]
        joined = {name: torch.cat([tensors[name] for tensors in found]).to(images.device) for name in found[0]}
        queries, keys = joined["queries"].unbind(1), joined["keys"].unbind(1)
        hidden_state = joined["hidden_state"]
        return TransformerOutput(
            logits=[joined["logits"]],
            pred_boxes=[joined["pred_boxes"]],
            hidden_states=[hidden_state],
            queries=list(queries),
            keys=list(keys),
            memory=hidden_state[:, :0],
        )

    def _get(self, image: Tensor, weights: bytes, detect: Callable[[Tensor], TransformerOutput]) -> dict[str, Tensor]:
        digest = hashlib.blake2b(weights + str(tuple(image.shape)).encode(), digest_size=16)
        digest.update(_to_bytes(image))
        path = self.folder / f"{digest.hexdigest()}.safetensors"
        if path.is_file():
            try:
                return load_file(path)
            except SafetensorError as error:
                logger.warning("%s: cannot be read (%s) and is made again", path, error)
        with torch.autocast(image.device.type, enabled=False):
            output = detect(image)
        tensors = {
            "logits": output.logits[-1],
            "pred_boxes": output.pred_boxes[-1],
            "hidden_state": output.hidden_states[-1],
            "queries": torch.stack(output.queries, dim=1),
            "keys": torch.stack(output.keys, dim=1),
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        # Another process may read or write the file of the same image at this moment.
        with replacing(path, shared=True) as file:
            file.write(save(tensors))
        return tensors

    def _weights_fingerprint(self) -> bytes:
        # Weights are usually loaded after the model is built, possibly after its first use.
        tensors = [t.detach() for module in self._detector for t in (*module.parameters(), *module.buffers())]
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if state != self._state:
            digest = hashlib.blake2b()
            for tensor in tensors:
                digest.update(_to_bytes(tensor))
            # As long as a tensor is kept here, no other weights can get its address.
            self._state, self._weights, self._fingerprint = state, tensors, digest.digest()
        return self._fingerprint


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
