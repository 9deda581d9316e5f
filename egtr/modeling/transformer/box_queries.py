"""Boxes as queries of the decoder: noised true boxes in training (denoising), or boxes that a user gives.

A box query is a box r, cxcywh in 0..1, and a label c, which may be "unknown". In the decoder it is one more query
beside the detector's own ones, with

    reference  = r
    content    = E[c],  E learned, one row per class and a last one for "unknown"
    position   = a function of r, the detector's choice:
                 DeformableTransformer      Linear(sine(r))
                 the same with two-stage    first half of LayerNorm(Linear(sine(r))), as for its proposals

where sine is :func:`egtr.layers.sine_box_embedding`. A query depends on its own box and label only, and attention has
no order, so the order of the boxes changes nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class BoxQueries:
    """Box queries of a batch of B images, P of each, padded to the same number.

    Attributes:
        boxes: (B, P, 4) cxcywh in 0..1 of each image without its padding.
        labels: (B, P) int64 classes; C, the number of classes, is "unknown".
        valid: (B, P) bool, False at padding.
        groups: (P,) int64; queries of different groups do not see each other.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return self.boxes.shape[1]

    def attention_mask(self, num_own: int) -> Tensor:
        """Compute which queries see which, when N queries of the detector itself follow the P box queries.

        A box query sees its group and the detector's own queries. Those see only each other, so box queries change
        nothing in what the detector finds itself. Padding is seen by nothing but itself.

        Returns:
            (B, 1, P + N, P + N) bool: the row sees the column.
        """
        count, device = len(self), self.boxes.device
        own = torch.arange(count + num_own, device=device) >= count
        mask = own[None, :] | torch.eye(count + num_own, dtype=torch.bool, device=device)
        mask = mask.repeat(len(self.boxes), 1, 1, 1)
        mask[:, 0, :count, :count] |= (self.groups[:, None] == self.groups[None, :]) & self.valid[:, None, :]
        return mask


def make_box_queries(
    boxes: list[Tensor], labels: list[Tensor | None], num_classes: int, device: torch.device | str
) -> BoxQueries:
    """Make box queries from boxes that are known, one group per image.

    Args:
        boxes: for each image (n, 4) cxcywh in 0..1; n may differ.
        labels: for each image (n,) int64 classes, -1 where a class is unknown; None: all are.
        num_classes: C.
        device: the model's device.
    """
    most = max(1, *(len(rows) for rows in boxes)) if boxes else 1
    all_boxes = torch.full((len(boxes), most, 4), 0.5)
    all_labels = torch.full((len(boxes), most), num_classes, dtype=torch.int64)
    valid = torch.zeros(len(boxes), most, dtype=torch.bool)
    for image, (rows, classes) in enumerate(zip(boxes, labels, strict=True)):
        all_boxes[image, : len(rows)] = rows
        valid[image, : len(rows)] = True
        if classes is not None:
            all_labels[image, : len(rows)] = torch.where(classes < 0, num_classes, classes)
    groups = torch.zeros(most, dtype=torch.int64)
    return BoxQueries(*(tensor.to(device) for tensor in (all_boxes, all_labels, valid, groups)))
