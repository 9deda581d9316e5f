"""What a frozen detector said about images, kept on disk, so that many runs ask it once."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from detectron2.structures import ImageList
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .transformer.build import TransformerOutput

logger = logging.getLogger(__name__)


class DetectorCache:
    """A folder with a file for each image that a frozen detector has seen.

    Nearly all time of training the relation part alone goes into the detector, whose answer to the same image never
    changes. The name of a file is a hash of the image's normalised pixels and of the detector's weights, so that a
    folder may serve several datasets, sizes and detectors, and several processes at once.

    Settings that change the answer but no weight (TRANSFORMER.NHEADS is one) need folders of their own. Weights may
    be loaded, replaced or changed at any time, but in place through ``.data``, of which PyTorch keeps no record.

    A damaged file is made anew. Numbers in a sound one are believed: let nobody else write into the folder.

    An image is seen by itself, in float32: no padding and no mixed precision, just as in evaluation on one device.

    Args:
        folder: is made with the first file.
        detector: its modules.
    """

    def __init__(self, folder: str | Path, detector: Iterable[nn.Module]):
        self.folder = Path(folder)
        self._detector = list(detector)
        self._state: list[tuple[int, int]] = []
        self._weights: list[Tensor] = []
        self._fingerprint = b""

    def __call__(self, images: ImageList, detect: Callable[[Tensor], TransformerOutput]) -> TransformerOutput:
        """The detector's output for a batch, read from the folder as far as it is there.

        Args:
            images: B normalised images.
            detect: makes the output of one image, a (3, H, W) tensor.

        Returns:
            ``logits``, ``pred_boxes`` and ``hidden_states`` of the last layer alone, all ``queries`` and ``keys``, an
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
                logger.warning("%s: cannot be read (%s) and is made anew", path, error)
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
        # Another process may read or write the same image at this moment.
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file(tensors, part)
        os.replace(part, path)
        return tensors

    def _weights_fingerprint(self) -> bytes:
        # Weights are often loaded after the model has been made, some day maybe after its first use.
        tensors = [t.detach() for module in self._detector for t in (*module.parameters(), *module.buffers())]
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if state != self._state:
            digest = hashlib.blake2b()
            for tensor in tensors:
                digest.update(_to_bytes(tensor))
            # What is held here cannot leave its address to other weights.
            self._state, self._weights, self._fingerprint = state, tensors, digest.digest()
        return self._fingerprint


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
