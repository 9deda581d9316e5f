"""The detector that the baselines share: EGTR without its relation part."""

import torch
from detectron2.structures import ImageList
from torch import Tensor

from egtr.modeling import EGTR, EGTROutput, Target
from egtr.modeling.outputs import DenoisingOutput
from egtr.modeling.postprocessing import build_instances, scale_boxes
from egtr.modeling.smoothing import Smoothing
from egtr.structures import Prediction, SceneGraph


class Baseline(EGTR):
    """EGTR's detector without its relation part; subclasses find the relations.

    Inputs, results and losses of the detector are those of :class:`~egtr.modeling.EGTR`.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        egtr = cfg.MODEL.EGTR
        self.num_classes, self.num_predicates = egtr.NUM_CLASSES, egtr.NUM_PREDICATES
        self.dim, self.num_heads = egtr.TRANSFORMER.HIDDEN_DIM, egtr.TRANSFORMER.NHEADS
        self.ffn_dim = egtr.TRANSFORMER.DEC_FFN_DIM

    @property
    def smoothing(self) -> Smoothing:
        """The rule of MODEL.EGTR.LOSS.SMOOTHING, which the criterion holds for EGTR's own relation part."""
        return self.criterion.relation_loss.smoothing

    @classmethod
    def from_config(cls, cfg):
        """Build the parts of a detector; RELATION.ENABLED stays True for the mapper and the evaluator."""
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.EGTR.RELATION.ENABLED = False
        return EGTR.from_config(cfg)

    def relations(self, output: EGTROutput, images: ImageList) -> dict[str, Tensor]:
        """Compute what the losses of relations and :meth:`predictions` read, from the output of the detector."""
        raise NotImplementedError

    def relation_losses(
        self, output: EGTROutput, found: dict[str, Tensor], targets: list[Target]
    ) -> dict[str, Tensor]:
        """Compute the losses of relations, not weighted."""
        raise NotImplementedError

    def prediction(
        self, output: EGTROutput, found: dict[str, Tensor], index: int, size: tuple[int, int]
    ) -> Prediction:
        """Make the record of one image, with boxes in the pixels of ``size``."""
        raise NotImplementedError

    def losses(self, inputs: list[dict]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute unweighted losses and logged quantities of detector and relations."""
        targets, images = self._targets(inputs), self.preprocess_image(inputs)
        drawn = self.denoising(targets) if self.denoising is not None and self.training else None
        output = self._network(images, box_queries=None if drawn is None else drawn.queries)
        if drawn is not None:
            output.denoising = DenoisingOutput.read(drawn, output.boxed, None)
        found = self.relations(output, images)
        with torch.autocast(self.device.type, enabled=False):
            output, found = output.float(), {name: value.float() for name, value in found.items()}
            losses, logged = self.criterion(output, targets)
            return losses | self.relation_losses(output, found, targets), logged

    @torch.no_grad()
    def inference(self, inputs: list[dict]) -> list[dict]:
        """Predict each image; the results are those of :class:`~egtr.modeling.EGTR`."""
        images = self.preprocess_image(inputs)
        output = self._network(images)
        found = self.relations(output, images)
        results = []
        for index, (record, image_size) in enumerate(zip(inputs, images.image_sizes, strict=True)):
            size = (int(record.get("height", image_size[0])), int(record.get("width", image_size[1])))
            boxes = scale_boxes(output.pred_boxes[index], *size)
            graph = SceneGraph.from_prediction(
                self.prediction(output, found, index, size),
                self.class_names,
                self.predicate_names,
                top_k=self.triplets_per_image,
                object_score=self.object_score,
            )
            instances = build_instances(output.logits[index], boxes, size, self.detections_per_image)
            results.append({"instances": instances, "scene_graph": graph})
        return results
