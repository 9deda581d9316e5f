"""The meta-architecture."""

import logging
from contextlib import nullcontext
from functools import reduce

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import ImageList
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from egtr.structures import ConfigurationError, Prediction, SceneGraph

from .backbone import build_backbone
from .criterion import SetCriterion, build_criterion
from .denoising import Denoising, build_denoising
from .detector_cache import DetectorCache
from .given_boxes import build_given_graph, choose_box_queries, read_given
from .names import get_names
from .outputs import DenoisingOutput, EGTROutput
from .postprocessing import (
    build_instances,
    build_prediction,
    build_pruned_prediction,
    read_object_score,
    scale_boxes,
)
from .relation.part import RelationPart, build_relation_part
from .target import Target, read_targets
from .transformer.box_queries import BoxQueries
from .transformer.build import EncodedImages, TransformerOutput, build_transformer
from .transformer.geometry import refusing_single_cells, valid_pixels

logger = logging.getLogger(__name__)


@META_ARCH_REGISTRY.register()
class EGTR(nn.Module):
    """Deformable DETR that reads relations from its decoder self-attention (Im et al., CVPR 2024).

    Input, one dict per image:

    - image: (3, H, W) tensor, channels in the order of ``input_format``, values 0..255.
    - height, width: size of the image that output boxes refer to; that of ``image`` if absent.
    - instances (training): Instances with gt_boxes (xyxy in pixels of ``image``) and gt_classes.
    - relations (training): (T, 3) int64 of subject, object, predicate; the first two index ``instances``.
    - given (evaluation, optional): boxes whose relations are wanted, see :mod:`egtr.modeling.given_boxes`.

    In training mode the result is a dict of weighted losses. In evaluation mode it is one dict per image:
    "instances" (the best (query, class) by sigmoid, with ``query_index``) and, unless the relation part is disabled,
    "scene_graph", a :class:`~egtr.structures.SceneGraph` whose ``prediction`` is the raw record.

    Args:
        backbone: makes feature maps.
        transformer: detects objects; an entry of TRANSFORMER_REGISTRY.
        relation: the relation part; None: the model is only a detector.
        criterion: measures losses.
        pixel_mean, pixel_std: per channel, for values 0..255.
        input_format: "RGB" or "BGR", only for drawing.
        test_size: short side and limit of the long side, in pixels, to which images are resized before prediction;
            :class:`egtr.inference.EGTRPredictor` reads it from a model without configuration.
        denoising: draws further queries from the ground truth in training, which ``transformer`` must take; None:
            no such queries. It does not act if the detector is frozen.
        aux_loss: compute detection losses on every decoder layer. Inference then runs the heads of every layer, too,
            which takes little time compared with the encoder.
        freeze_detector: train only the relation part.
        detector_cache: folder for the output of a frozen detector, see :class:`DetectorCache`; "" keeps nothing.
        amp: run backbone and transformer under bfloat16 autocast in evaluation mode.
        detections_per_image: size of "instances".
        triplets_per_image: number of triplets in "scene_graph".
        max_rank: largest K of any ranking of a prediction's triplets.
        prune_pairs: in evaluation mode, compute and keep only the pairs that rankings of ``max_rank`` triplets need,
            if relation head and pair function can score single pairs. A subclass that overrides :meth:`network` needs
            False.
        object_score: "auto", "softmax" or "sigmoid", score of objects in the graph; see
            :func:`egtr.structures.prediction.object_scores`.
        class_names, predicate_names: names for the graph; None prints numbers.
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
        denoising: Denoising | None = None,
        aux_loss: bool = False,
        freeze_detector: bool = False,
        detector_cache: str = "",
        amp: bool = False,
        detections_per_image: int = 100,
        triplets_per_image: int = 100,
        max_rank: int = 100,
        prune_pairs: bool = True,
        object_score: str = "auto",
        class_names: tuple[str, ...] | None = None,
        predicate_names: tuple[str, ...] | None = None,
    ):
        super().__init__()
        if freeze_detector and relation is None:
            raise ConfigurationError(
                "MODEL.EGTR.FREEZE_DETECTOR True with RELATION.ENABLED False leaves nothing to train"
            )
        if detector_cache and (aux_loss or not freeze_detector):
            raise ConfigurationError(
                "MODEL.EGTR.DETECTOR_CACHE keeps the output of the last layer of a frozen detector: it needs "
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
        self.denoising = denoising
        self.aux_loss = aux_loss
        self.freeze_detector = freeze_detector
        self.amp = amp
        self.detections_per_image = detections_per_image
        self.triplets_per_image = triplets_per_image
        # The Open Images block of metrics ranks 100 triplets.
        self.max_rank = max(100, max_rank, triplets_per_image)
        if prune_pairs and type(self).network is not EGTR.network:
            raise ConfigurationError(
                f"MODEL.EGTR.RELATION.PRUNE_PAIRS is True, but {type(self).__name__} has a network() of its own, "
                "which pruned inference does not call. Set it to False"
            )
        self.prune_pairs = prune_pairs
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
            "criterion": build_criterion(cfg, relation.tasks if relation else None),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "test_size": (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
            "denoising": build_denoising(cfg) if egtr.DENOISING.ENABLED else None,
            "aux_loss": egtr.AUX_LOSS,
            "freeze_detector": egtr.FREEZE_DETECTOR,
            "detector_cache": egtr.DETECTOR_CACHE,
            "amp": cfg.TEST.AMP,
            "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "triplets_per_image": cfg.TEST.SCENE_GRAPH.TRIPLETS_PER_IMAGE,
            "max_rank": max(cfg.TEST.SCENE_GRAPH.TOPK, default=100),
            "prune_pairs": egtr.RELATION.PRUNE_PAIRS,
            "object_score": read_object_score(cfg),
            "class_names": class_names,
            "predicate_names": predicate_names,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def size_divisibility(self) -> int:
        """Number of which the sides of a padded batch are multiples; 0: any size will do."""
        return max(self.backbone.size_divisibility, getattr(self.transformer, "size_divisibility", 0))

    @property
    def takes_box_queries(self) -> bool:
        """True if given boxes can be queries of the decoder: it was built so, and ``network`` is not overridden."""
        return getattr(self.transformer, "label_embed", None) is not None and type(self).network is EGTR.network

    @property
    def prunes_pairs(self) -> bool:
        """True if inference scores only pairs that rankings need."""
        return self.prune_pairs and self.relation is not None and self.relation.scores_single_pairs

    def train(self, mode: bool = True):
        super().train(mode)
        if self.freeze_detector:
            self.backbone.eval()
            self.transformer.eval()
        return self

    def set_relation_statistics(self, triplet_counts: Tensor) -> None:
        """Fill frequency bias and predicate frequency from the (C, C, R) triplet counts of a training set."""
        if self.relation is not None:
            self.relation.frequency_bias.set_counts(triplet_counts.to(self.device))

    def preprocess_image(self, inputs: list[dict]) -> ImageList:
        """Normalise images, and pad them with zeros at the right and bottom to the largest one of the batch."""
        images = [x["image"] for x in inputs]
        dtype = reduce(torch.promote_types, (image.dtype for image in images))
        # The batch goes to the device in one piece, and as bytes if all images are bytes.
        padded = ImageList.from_tensors([image.to(dtype) for image in images], self.size_divisibility)
        padded.tensor = (padded.tensor.to(self.device, non_blocking=True).float() - self.pixel_mean) / self.pixel_std
        valid = valid_pixels(padded)
        if valid is not None:
            padded.tensor = padded.tensor.masked_fill(~valid[:, None], 0.0)
        return padded

    def network(self, images: ImageList, box_queries: BoxQueries | None = None) -> EGTROutput:
        """Compute the dense output, with all pairs, for normalised, padded images.

        Logit adjustment, if it is on, acts only in evaluation mode. The output of ``box_queries`` becomes ``boxed``.
        """
        output = self._network(images, box_queries=box_queries)
        if not self.training and output.relation_logits is not None:
            output.relation_logits = self.relation.frequency_bias.adjust(output.relation_logits)
        return output

    def _network(
        self,
        images: ImageList,
        with_tasks: bool = False,
        with_relations: bool = True,
        box_queries: BoxQueries | None = None,
        encoded: EncodedImages | None = None,
    ) -> EGTROutput:
        """Compute the output of :meth:`network` before logit adjustment, which no loss may contain.

        Args:
            images: normalised, padded images.
            with_tasks: run auxiliary tasks, too, which only losses need.
            with_relations: compute relation logits of all pairs; False if only chosen pairs are scored afterwards.
            box_queries: further queries, whose output becomes ``boxed``.
            encoded: what :meth:`encode` returned for these images, if they have been encoded already.
        """
        with torch.no_grad() if self.freeze_detector else nullcontext():
            if encoded is not None:
                detected = self.transformer.decode(encoded, box_queries).float()
            elif self.detector_cache is not None and box_queries is None:
                detected = self.detector_cache(images, self._detect_one)
            elif self.amp and not self.training:
                with torch.autocast(self.device.type, torch.bfloat16):
                    detected = self._detect(images, box_queries).float()
            else:
                detected = self._detect(images, box_queries)
        boxed = None
        if box_queries is not None:
            boxed, detected = detected.split(len(box_queries))
        output = EGTROutput.read(detected, self.relation, with_relations=with_relations, with_tasks=with_tasks)
        output.boxed = boxed
        if self.aux_loss:
            output.aux_outputs = list(zip(detected.logits, detected.pred_boxes, strict=True))[:-1]
        return output

    def encode(self, images: ImageList) -> EncodedImages:
        """Run backbone and encoder on normalised, padded images; the transformer has to be an EncoderDecoder."""
        use_amp = self.amp and not self.training
        with torch.autocast(self.device.type, torch.bfloat16, enabled=use_amp), refusing_single_cells(images):
            return self.transformer.encode(self.backbone(images.tensor), valid_pixels(images))

    def _detect(self, images: ImageList, box_queries: BoxQueries | None = None) -> TransformerOutput:
        queries = () if box_queries is None else (box_queries,)
        with refusing_single_cells(images):
            return self.transformer(self.backbone(images.tensor), valid_pixels(images), *queries)

    def _detect_one(self, image: Tensor) -> TransformerOutput:
        return self._detect(ImageList.from_tensors([image], self.size_divisibility))

    def losses(self, inputs: list[dict]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Compute unweighted losses and logged quantities, as the mode (training or evaluation) defines them."""
        targets = self._targets(inputs)
        use_denoising = self.denoising is not None and self.training and not self.freeze_detector
        drawn = self.denoising(targets) if use_denoising else None
        queries = None if drawn is None else drawn.queries
        output = self._network(self.preprocess_image(inputs), with_tasks=True, box_queries=queries)
        if drawn is not None:
            part = self.relation if self.denoising.relations else None
            output.denoising = DenoisingOutput.read(drawn, output.boxed, part)
        # Matching and losses are cheap, and logarithms of small probabilities need full precision.
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(output.float(), targets)

    def forward(self, inputs: list[dict]):
        """Return weighted losses in training mode, results in evaluation mode; see the class."""
        if not self.training:
            return self.inference(inputs)
        losses, logged = self.losses(inputs)
        if has_event_storage():
            # The released code logs losses before they are weighted.
            logged |= {f"unweighted/{name}": value.detach() for name, value in losses.items()}
            # One transfer from the device for all values.
            values = torch.stack([value.float() for value in logged.values()]).tolist()
            get_event_storage().put_scalars(**dict(zip(logged, values, strict=True)))
        return self.criterion.weighted(losses)

    @torch.no_grad()
    def inference(self, inputs: list[dict]) -> list[dict]:
        """Predict each image, boxes in its ``height`` and ``width``; see the class."""
        images = self.preprocess_image(inputs)
        given = [read_given(x, size, self.device) for x, size in zip(inputs, images.image_sizes, strict=True)]
        box_queries = choose_box_queries(self, given)
        options = {} if box_queries is None else {"box_queries": box_queries}
        if self.prunes_pairs:
            output = self._network(images, with_relations=False, **options)
        else:
            output = self.network(images, **options)
        results = []
        for index, (record, image_size) in enumerate(zip(inputs, images.image_sizes, strict=True)):
            size = (int(record.get("height", image_size[0])), int(record.get("width", image_size[1])))
            boxes = scale_boxes(output.pred_boxes[index], *size)
            result = {"instances": build_instances(output.logits[index], boxes, size, self.detections_per_image)}
            if self.relation is not None:
                if given[index] is not None:
                    graph = build_given_graph(self, given[index], output, index, size)
                else:
                    graph = self.read_graph(output, index, size)
                result["scene_graph"] = graph
            results.append(result)
        return results

    def read_graph(self, output: EGTROutput, index: int, size: tuple[int, int]) -> SceneGraph:
        """Make the graph of one image of a batch; ``size`` is the (height, width) that its boxes refer to."""
        if self.prunes_pairs:
            return self.make_graph(build_pruned_prediction(output, index, size, self.relation, self.max_rank))
        return self.make_graph(build_prediction(output, index, size))

    def make_graph(self, prediction: Prediction) -> SceneGraph:
        """Rank the triplets of a record, and name its objects."""
        return SceneGraph.from_prediction(
            prediction,
            self.class_names,
            self.predicate_names,
            top_k=self.triplets_per_image,
            object_score=self.object_score,
        )

    def _targets(self, inputs: list[dict]) -> list[Target]:
        return read_targets(inputs, self.device)
