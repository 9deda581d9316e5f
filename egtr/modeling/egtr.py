"""The meta-architecture."""

from contextlib import nullcontext

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import ImageList
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from egtr.layers import box_xyxy_to_cxcywh
from egtr.structures import EGTRError, SceneGraph

from .criterion import SetCriterion
from .detector_cache import DetectorCache
from .matcher import HungarianMatcher
from .names import get_names
from .outputs import EGTROutput
from .postprocessing import build_instances, build_prediction, build_pruned_prediction, scale_boxes
from .relation.part import RelationPart, build_relation_part
from .target import Target
from .transformer.build import TransformerOutput, build_transformer
from .transformer.geometry import valid_pixels


@META_ARCH_REGISTRY.register()
class EGTR(nn.Module):
    """Deformable DETR whose decoder self-attention tells the relations between objects (Im et al., CVPR 2024).

    Input, one dict an image:

    - image: (3, H, W) tensor, channels in the order of ``input_format``, values 0..255.
    - height, width: size that boxes are wanted in; the image's own if absent.
    - instances (training): Instances with gt_boxes (xyxy in pixels of ``image``) and gt_classes.
    - relations (training): (T, 3) int64 of subject, object, predicate; the first two index ``instances``.

    In training mode the result is a dict of weighted losses. In evaluation mode it is one dict an image:
    "instances" (the best (query, class) by sigmoid, with ``query_index``) and, unless the relation part is disabled,
    "scene_graph" (:class:`~egtr.structures.SceneGraph`, whose ``prediction`` is the raw record, less the pairs that
    no ranking of ``max_rank`` triplets needs, where relation head and pair function can be asked about single pairs
    and no subclass overrides :meth:`network`).

    Args:
        backbone: makes feature maps.
        transformer: detects; an entry of TRANSFORMER_REGISTRY.
        relation: the relation part; None leaves a plain detector.
        criterion: measures losses.
        pixel_mean, pixel_std: per channel, on 0..255.
        input_format: "RGB" or "BGR", for drawing only.
        test_size: short side and limit of the long side, in pixels, that images are resized to before they come
            here in prediction; :class:`egtr.inference.EGTRPredictor` reads it of a model without configuration.
        aux_loss: detection losses on every decoder layer. Inference asks the heads of every layer then, too: it is so
            little beside the work on the image's cells that transformers are not told what they are asked for.
        freeze_detector: train the relation part alone.
        detector_cache: folder for what a frozen detector says, see :class:`DetectorCache`; "" keeps nothing.
        amp: backbone and transformer run under bfloat16 autocast in evaluation mode.
        detections_per_image: size of "instances".
        triplets_per_image: triplets of "scene_graph".
        max_rank: largest K of any ranking of triplets that will be asked of a prediction; pairs that none of these
            rankings needs may be left out of it.
        object_score: "softmax" or "sigmoid", scores of objects in the graph.
        class_names, predicate_names: for the graph; None prints numbers.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        transformer: nn.Module,
        relation: RelationPart | None,
        criterion: SetCriterion,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        input_format: str = "RGB",
        test_size: tuple[int, int] = (800, 1333),
        aux_loss: bool = False,
        freeze_detector: bool = False,
        detector_cache: str = "",
        amp: bool = False,
        detections_per_image: int = 100,
        triplets_per_image: int = 100,
        max_rank: int = 100,
        object_score: str = "softmax",
        class_names: tuple[str, ...] | None = None,
        predicate_names: tuple[str, ...] | None = None,
    ):
        super().__init__()
        if freeze_detector and relation is None:
            raise EGTRError("MODEL.EGTR.FREEZE_DETECTOR True with RELATION.ENABLED False leaves nothing to train")
        if detector_cache and (aux_loss or not freeze_detector):
            raise EGTRError(
                "MODEL.EGTR.DETECTOR_CACHE keeps what the last layer of an unchanging detector says: it needs "
                "FREEZE_DETECTOR True and AUX_LOSS False"
            )
        self.backbone = backbone
        self.transformer = transformer
        self.relation = relation
        self.criterion = criterion
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.input_format = input_format
        self.test_size = test_size
        self.aux_loss = aux_loss
        self.freeze_detector = freeze_detector
        self.amp = amp
        self.detections_per_image = detections_per_image
        self.triplets_per_image = triplets_per_image
        # 100 are what the Open Images block of metrics ranks.
        self.max_rank = max(100, max_rank, triplets_per_image)
        self.object_score = object_score
        self.class_names, self.predicate_names = class_names, predicate_names
        if freeze_detector:
            for part in (backbone, transformer):
                part.requires_grad_(False)
        self.detector_cache = DetectorCache(detector_cache, [backbone, transformer]) if detector_cache else None

    @classmethod
    def from_config(cls, cfg):
        egtr = cfg.MODEL.EGTR
        backbone = build_backbone(cfg)
        class_names, predicate_names = get_names(cfg)
        relation = build_relation_part(cfg) if egtr.RELATION.ENABLED else None
        return {
            "backbone": backbone,
            "transformer": build_transformer(cfg, backbone.output_shape()),
            "relation": relation,
            "criterion": cls._criterion_from_config(cfg, relation.tasks if relation else None),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "test_size": (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
            "aux_loss": egtr.AUX_LOSS,
            "freeze_detector": egtr.FREEZE_DETECTOR,
            "detector_cache": egtr.DETECTOR_CACHE,
            "amp": cfg.TEST.AMP,
            "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "triplets_per_image": cfg.TEST.SCENE_GRAPH.TRIPLETS_PER_IMAGE,
            "max_rank": max(cfg.TEST.SCENE_GRAPH.TOPK, default=100),
            "object_score": cfg.TEST.SCENE_GRAPH.OBJECT_SCORE,
            "class_names": class_names,
            "predicate_names": predicate_names,
        }

    @staticmethod
    def _criterion_from_config(cfg, tasks: nn.ModuleDict | None) -> SetCriterion:
        loss, cost = cfg.MODEL.EGTR.LOSS, cfg.MODEL.EGTR.MATCHER
        focal = {"focal_alpha": loss.FOCAL_ALPHA, "focal_gamma": loss.FOCAL_GAMMA}
        return SetCriterion(
            matcher=HungarianMatcher(
                cost_class=cost.COST_CLASS, cost_bbox=cost.COST_BBOX, cost_giou=cost.COST_GIOU, **focal
            ),
            weights={
                "loss_ce": loss.CE_WEIGHT,
                "loss_bbox": loss.BBOX_WEIGHT,
                "loss_giou": loss.GIOU_WEIGHT,
                "loss_rel": loss.REL_WEIGHT,
                "loss_connectivity": loss.CONNECTIVITY_WEIGHT,
            },
            smoothing_alpha=loss.SMOOTHING_ALPHA,
            k_neg=loss.K_NEG,
            k_non=loss.K_NON,
            neg_sampling=loss.NEG_SAMPLING,
            non_sampling=loss.NON_SAMPLING,
            rel_loss=loss.REL_LOSS,
            rel_loss_tau=loss.REL_LOSS_TAU,
            normalizer=loss.NORMALIZER,
            tasks=tasks,
            **focal,
        )

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def train(self, mode: bool = True):
        super().train(mode)
        if self.freeze_detector:
            self.backbone.eval()
            self.transformer.eval()
        return self

    def set_relation_statistics(self, triplet_counts: Tensor) -> None:
        """Fill frequency bias and predicate frequency from a training set's (C, C, R) triplet counts."""
        if self.relation is not None:
            self.relation.frequency_bias.set_counts(triplet_counts.to(self.device))

    def preprocess_image(self, inputs: list[dict]) -> ImageList:
        """Normalise and pad right and bottom with zeros to the largest image of the batch."""
        images = [(x["image"].to(self.device).float() - self.pixel_mean) / self.pixel_std for x in inputs]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def network(self, images: ImageList) -> EGTROutput:
        """Dense output for normalised, padded images; logit adjustment, if on, in evaluation mode only."""
        output = self._network(images)
        if not self.training and output.relation_logits is not None:
            output.relation_logits = self.relation.frequency_bias.adjust(output.relation_logits)
        return output

    def _network(self, images: ImageList, with_tasks: bool = False, with_relations: bool = True) -> EGTROutput:
        """:meth:`network` before logit adjustment, which no loss may see.

        Args:
            images: normalised, padded images.
            with_tasks: auxiliary tasks too, which only losses need.
            with_relations: False leaves out relation logits, for those who ask about single pairs afterwards.
        """
        with torch.no_grad() if self.freeze_detector else nullcontext():
            if self.detector_cache is not None:
                detected = self.detector_cache(images, self._detect_one)
            elif self.amp and not self.training:
                with torch.autocast(self.device.type, torch.bfloat16):
                    detected = self._detect(images).float()
            else:
                detected = self._detect(images)
        pairs = relation_logits = connectivity_logits = gates = predicate_frequency = None
        tasks = {}
        if self.relation is not None:
            part = self.relation
            pairs = part.source(detected.queries, detected.keys, detected.hidden_states[-1])
            if with_relations:
                relation_logits = part.relation_logits(pairs, detected.logits[-1])
            if part.connectivity_head is not None:
                connectivity_logits = part.connectivity_head(pairs)
            gates = pairs.gates
            predicate_frequency = part.frequency_bias.predicate_frequency
            if with_tasks:
                tasks = {name: task(pairs) for name, task in part.tasks.items()}
        return EGTROutput(
            logits=detected.logits[-1],
            pred_boxes=detected.pred_boxes[-1],
            relation_logits=relation_logits,
            connectivity_logits=connectivity_logits,
            hidden_states=detected.hidden_states,
            queries=detected.queries,
            keys=detected.keys,
            gates=gates,
            pairs=pairs,
            memory=detected.memory,
            aux_outputs=list(zip(detected.logits, detected.pred_boxes, strict=True))[:-1] if self.aux_loss else [],
            proposals=(
                (detected.proposal_logits, detected.proposal_boxes) if detected.proposal_logits is not None else None
            ),
            tasks=tasks,
            predicate_frequency=predicate_frequency,
        )

    def _detect(self, images: ImageList) -> TransformerOutput:
        return self.transformer(self.backbone(images.tensor), valid_pixels(images))

    def _detect_one(self, image: Tensor) -> TransformerOutput:
        return self._detect(ImageList.from_tensors([image], self.backbone.size_divisibility))

    def losses(self, inputs: list[dict]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Unweighted losses and logged quantities, as the current mode (training or evaluation) defines them."""
        output = self._network(self.preprocess_image(inputs), with_tasks=True)
        # Matching and losses are cheap, and logarithms of small probabilities need every bit.
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(output.float(), self._targets(inputs))

    def forward(self, inputs: list[dict]):
        """Weighted losses in training mode, results in evaluation mode; see the class."""
        if not self.training:
            return self.inference(inputs)
        losses, logged = self.losses(inputs)
        if has_event_storage():
            # One transfer from the device for all of them.
            values = torch.stack([value.float() for value in logged.values()]).tolist()
            get_event_storage().put_scalars(**dict(zip(logged, values, strict=True)))
        return self.criterion.weighted(losses)

    @torch.no_grad()
    def inference(self, inputs: list[dict]) -> list[dict]:
        """Results of each image, boxes in its ``height`` and ``width``."""
        images = self.preprocess_image(inputs)
        # Who overrides network() is asked for all pairs.
        pruned = (
            self.relation is not None and self.relation.scores_single_pairs and type(self).network is EGTR.network
        )
        output = self._network(images, with_relations=False) if pruned else self.network(images)
        results = []
        for index, (record, image_size) in enumerate(zip(inputs, images.image_sizes, strict=True)):
            size = (int(record.get("height", image_size[0])), int(record.get("width", image_size[1])))
            boxes = scale_boxes(output.pred_boxes[index], *size)
            result = {"instances": build_instances(output.logits[index], boxes, size, self.detections_per_image)}
            if self.relation is not None:
                if pruned:
                    prediction = build_pruned_prediction(output, index, size, self.relation, self.max_rank)
                else:
                    prediction = build_prediction(output, index, size)
                result["scene_graph"] = SceneGraph.from_prediction(
                    prediction,
                    self.class_names,
                    self.predicate_names,
                    top_k=self.triplets_per_image,
                    object_score=self.object_score,
                )
            results.append(result)
        return results

    def _targets(self, inputs: list[dict]) -> list[Target]:
        targets = []
        for record in inputs:
            instances = record["instances"].to(self.device)
            height, width = instances.image_size
            scale = torch.tensor([width, height, width, height], dtype=torch.float32, device=self.device)
            relations = record.get("relations")
            if relations is None:
                relations = torch.zeros(0, 3, dtype=torch.int64)
            targets.append(
                Target(
                    classes=instances.gt_classes,
                    boxes=box_xyxy_to_cxcywh(instances.gt_boxes.tensor) / scale,
                    relations=relations.to(self.device),
                )
            )
        return targets
