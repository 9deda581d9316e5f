"""Every configuration key that EGTR adds to Detectron2's, with its meaning.

Keys that describe the model are under ``MODEL.EGTR``. The other keys extend Detectron2's own sections (``DATASETS``,
``INPUT``, ``DATALOADER``, ``SOLVER``, ``TEST``). Comments name the keys of Detectron2 that matter here.
"""

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
from detectron2.config import CfgNode, get_cfg

import egtr


def add_egtr_config(cfg: CfgNode) -> None:
    """Add EGTR's keys to ``cfg`` (in place), with the values of the paper's Visual Genome model.

    It calls :func:`egtr.register` first, so that everything the keys name can be found.
    """
    egtr.register()
    _add_detector_config(cfg)
    _add_relation_config(cfg)
    _add_loss_config(cfg)
    _add_datasets_config(cfg)
    _add_input_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)


def _add_detector_config(cfg: CfgNode) -> None:
    cfg.MODEL.EGTR = egtr = CfgNode()
    # Numbers of object classes C (no background class) and predicates R. They must agree with the dataset's metadata.
    egtr.NUM_CLASSES = 150
    egtr.NUM_PREDICATES = 50
    # Names of the classes and predicates in the model's graphs; []: the names in the metadata of DATASETS.TEST[0].
    egtr.CLASS_NAMES = []
    egtr.PREDICATE_NAMES = []
    # Number of object queries N.
    egtr.NUM_QUERIES = 200
    # Iterative box refinement: each decoder layer has its own heads and corrects the reference boxes.
    egtr.WITH_BOX_REFINE = False
    # Two-stage: the N best encoder proposals take the place of learned queries. Needs WITH_BOX_REFINE.
    egtr.TWO_STAGE = False
    # Detection losses on every decoder layer, not only on the last (True for detector pre-training).
    egtr.AUX_LOSS = False
    # Train only the relation part: everything that belongs to the detector keeps its weights and runs in evaluation
    # mode (no dropout, norms as stored).
    egtr.FREEZE_DETECTOR = False
    # With FREEZE_DETECTOR: a folder that keeps the output of the detector for each image, for all runs that name this
    # folder. Training is several times faster on images that were seen before. This works best without augmentation,
    # because each size and each mirrored image counts as another image. "": the detector runs each time.
    egtr.DETECTOR_CACHE = ""

    # The timm backbone (MODEL.BACKBONE.NAME "build_timm_backbone"). MODEL.BACKBONE.FREEZE_AT counts stages that are
    # not trained: 0 none, 1 the stem, 2 the stem and the first stage, ...
    egtr.BACKBONE = CfgNode()
    # Any timm model with features_only that takes images of every size; Swin and ViT are built so that they do.
    egtr.BACKBONE.NAME = "resnet50"
    # Stages whose maps feed the transformer (timm's out_indices).
    egtr.BACKBONE.OUT_INDICES = [2, 3, 4]
    # Let timm fetch its ImageNet weights when the model is built. MODEL.WEIGHTS is loaded afterwards.
    egtr.BACKBONE.PRETRAINED = False
    # "FrozenBN": scale, shift and statistics are buffers. "BN": ordinary batch norm, for training from scratch; in
    # stages that FREEZE_AT freezes, it does not change.
    egtr.BACKBONE.NORM = "FrozenBN"
    # Freeze the norms inside `downsample` branches too, as the paper intends. The released code leaves them ordinary
    # batch norms; to reproduce its numbers, set False.
    egtr.BACKBONE.FREEZE_DOWNSAMPLE_NORM = True
    # Widths of the four stages of a timm ResNet; empty: the model's own.
    egtr.BACKBONE.CHANNELS = []
    # Numbers of blocks of its stages; empty: the model's own.
    egtr.BACKBONE.LAYERS = []
    # Give the first block of a timm ResNet a 1x1 convolution in its shortcut, as RT-DETR's ResNet-18-vd and 34-vd
    # have; timm's resnet18d and resnet34d lack it.
    egtr.BACKBONE.STAGE1_PROJECTION = False

    egtr.TRANSFORMER = CfgNode()
    # Entry of TRANSFORMER_REGISTRY: "DeformableTransformer"; "RTDETRTransformer", which also works in real time; or
    # "DETRTransformer": dense attention over the last map.
    egtr.TRANSFORMER.NAME = "DeformableTransformer"
    egtr.TRANSFORMER.HIDDEN_DIM = 256  # d
    egtr.TRANSFORMER.NHEADS = 8
    egtr.TRANSFORMER.ENC_LAYERS = 6
    egtr.TRANSFORMER.DEC_LAYERS = 6  # L
    egtr.TRANSFORMER.ENC_FFN_DIM = 1024
    egtr.TRANSFORMER.DEC_FFN_DIM = 1024
    egtr.TRANSFORMER.DROPOUT = 0.1
    # Only for Deformable DETR: number of levels; levels beyond the backbone's maps are made by stride-2 convolutions.
    egtr.TRANSFORMER.NUM_FEATURE_LEVELS = 4
    # Sampling points per head and level.
    egtr.TRANSFORMER.ENC_POINTS = 4
    egtr.TRANSFORMER.DEC_POINTS = 4
    # The decoder's points on each level, finest first, where their numbers differ; []: DEC_POINTS on each.
    egtr.TRANSFORMER.DEC_POINTS_PER_LEVEL = []
    # Entry of DEFORMABLE_ATTENTION_REGISTRY: "grid_sample", "gather" or "embedding_bag", which compute the same;
    # "auto": the fastest for the device.
    egtr.TRANSFORMER.DEFORMABLE_ATTENTION = "auto"
    # Only for RT-DETR, which always refines boxes and selects queries (WITH_BOX_REFINE and TWO_STAGE change nothing):
    # in evaluation the decoder stops after this layer, 0-based; -1: after the last. In training all layers run.
    egtr.TRANSFORMER.EVAL_IDX = -1
    # Its encoder; ENC_LAYERS and ENC_FFN_DIM are those of the attention on the coarsest map.
    egtr.TRANSFORMER.HYBRID_ENCODER = hybrid = CfgNode()
    # Width; 0: HIDDEN_DIM.
    hybrid.DIM = 0
    # Width of the inner convolutions as a share of it, and their number (1.0: three in each block).
    hybrid.EXPANSION = 1.0
    hybrid.DEPTH_MULT = 1.0
    # Order of the position table: "row_major", that of the cells, as in Hugging Face's models; or "column_major", as
    # in weights of RT-DETR's authors and of FROSS. The two agree on square images.
    hybrid.POSITION_ORDER = "row_major"

    # Contrastive denoising in training: true boxes and classes with noise are further queries, so that the detector
    # learns faster. The model can then take boxes as input, too. It needs a detector that refines boxes, and does not
    # act with FREEZE_DETECTOR.
    egtr.DENOISING = denoising = CfgNode()
    denoising.ENABLED = False
    # Positive queries for each image, in as many groups as fit, and as many negative ones.
    denoising.NUM_QUERIES = 100
    # Half of this share of the labels is exchanged for a random class.
    denoising.LABEL_NOISE = 0.5
    # Corners move by up to this share of half the box's sides, those of negative queries by up to twice as much.
    denoising.BOX_NOISE = 1.0
    # Share of the positive queries whose label is "unknown", as that of a box without a class.
    denoising.UNKNOWN_LABEL = 0.0
    # Also apply the losses of relations to the positive queries of one group.
    denoising.RELATIONS = False
    # Share of the images in which that group has the true boxes and classes, without noise and without negative
    # queries, so that the model learns relations between boxes that are exactly right.
    denoising.EXACT_SHARE = 0.0


def _add_relation_config(cfg: CfgNode) -> None:
    cfg.MODEL.EGTR.RELATION = relation = CfgNode()
    # False: only the detector, as for its pre-training.
    relation.ENABLED = True
    # Entry of RELATION_HEAD_REGISTRY.
    relation.HEAD = "MLPRelationHead"
    # Entry of CONNECTIVITY_HEAD_REGISTRY; "" leaves connectivity out (an ablation of the paper).
    relation.CONNECTIVITY_HEAD = "MLPConnectivityHead"
    # Entries of RELATION_TASK_REGISTRY: auxiliary tasks on pairs, such as "BoxOffsetTask". Only in training.
    relation.TASKS = []
    # Hidden width of the heads' MLPs; 0: HIDDEN_DIM.
    relation.MLP_DIM = 0
    # In inference, compute relations only for the pairs that rankings of TOPK triplets need. Scores and rankings stay
    # the same. This takes effect only if head and pair function are registered with pairwise=True. False: always all
    # pairs, as EGTR.network() returns them; a subclass of EGTR that overrides network() needs False.
    relation.PRUNE_PAIRS = True

    # Where pair features come from (paper, section 3.2).
    relation.SOURCE = CfgNode()
    # Decoder layers whose self-attention queries and keys are used, 0-based; [-1]: all of them; []: none.
    relation.SOURCE.LAYERS = [-1]
    # Also the last hidden state.
    relation.SOURCE.LAST_HIDDEN_STATE = True
    # How a query and a key become a pair feature: entry of PAIR_FUNCTION_REGISTRY. "ConcatPairs" (the paper),
    # "SumPairs", "HadamardPairs" or "DotProductPairs".
    relation.SOURCE.PAIR_FUNCTION = "ConcatPairs"
    # A sigmoid gate per source and pair; False adds the sources up ungated.
    relation.SOURCE.GATE = True

    # Added to the relation logits in training and inference: "reference" (log-counts, as released), "probability"
    # (log of the normalised frequency) or "none".
    relation.FREQUENCY_BIAS = "reference"
    relation.FREQUENCY_BIAS_EPS = 1e-12

    # Subtract TAU * log(predicate frequency) from the relation logits at inference; never in a loss.
    relation.LOGIT_ADJUSTMENT = CfgNode()
    relation.LOGIT_ADJUSTMENT.ENABLED = False
    relation.LOGIT_ADJUSTMENT.TAU = 0.3


def _add_loss_config(cfg: CfgNode) -> None:
    cfg.MODEL.EGTR.MATCHER = CfgNode()
    cfg.MODEL.EGTR.MATCHER.COST_CLASS = 2.0
    cfg.MODEL.EGTR.MATCHER.COST_BBOX = 5.0
    cfg.MODEL.EGTR.MATCHER.COST_GIOU = 2.0

    cfg.MODEL.EGTR.LOSS = loss = CfgNode()
    # loss_ce: "focal" (the paper), or "varifocal" (RT-DETR), which also teaches scores how well the box fits.
    loss.CLASS_LOSS = "focal"
    loss.CE_WEIGHT = 2.0
    loss.BBOX_WEIGHT = 5.0
    loss.GIOU_WEIGHT = 2.0
    loss.REL_WEIGHT = 15.0
    loss.CONNECTIVITY_WEIGHT = 30.0
    # Weight of BoxOffsetTask, if RELATION.TASKS has it.
    loss.BOX_OFFSET_WEIGHT = 1.0
    # loss_rel: "bce" (the paper), "focal", or "logit_adjusted": BCE of logits + REL_LOSS_TAU * log(frequency).
    loss.REL_LOSS = "bce"
    loss.REL_LOSS_TAU = 1.0
    loss.FOCAL_ALPHA = 0.25
    loss.FOCAL_GAMMA = 2.0
    loss.VARIFOCAL_ALPHA = 0.75
    loss.VARIFOCAL_GAMMA = 2.0
    # How badly found objects soften the targets of their relations (adaptive smoothing): entry of SMOOTHING_REGISTRY.
    # "CostSmoothing" (the paper), or two without its scale: "FitSmoothing", u = 1 - p * IoU, and "QuantileSmoothing".
    loss.SMOOTHING = "CostSmoothing"
    # alpha of CostSmoothing: uncertainty of a perfect match; 0 switches smoothing off. Much above the paper's 1e-14
    # even good matches are uncertain: u of p 0.9 and GIoU 0.9 is 0.9 at 1e-10.
    loss.SMOOTHING_ALPHA = 1e-14
    # Shares of matches in QuantileSmoothing: at these quantiles of recent matching costs, u is 0.1 and 0.5.
    loss.SMOOTHING_QUANTILES = [0.5, 0.9]
    # Negatives of loss_rel per true triplet: among matched pairs, and among pairs with an unmatched query. -1: all.
    loss.K_NEG = 80
    loss.K_NON = 80
    # The numbers above count for each "triplet" (the paper), or for each "image", also without triplets (FROSS).
    loss.NEGATIVES_PER = "triplet"
    # How they are chosen: "hard" (highest score), "random" (Open Images for K_NON) or "none" (all of them).
    loss.NEG_SAMPLING = "hard"
    loss.NON_SAMPLING = "hard"
    # The divisor of losses in distributed training. "global": counts of objects and of chosen entries over all
    # processes, so that several processes learn the same as one process would from the whole batch. "process": the
    # counts of each process, as in the released code.
    loss.NORMALIZER = "global"


def _add_datasets_config(cfg: CfgNode) -> None:
    # Detectron2's own: DATASETS.TRAIN and TEST, names of datasets.
    # Datasets to register before training or prediction: rows of [name, format, file, folder of the images], such as
    #   - [mine_train, coco_sg, data/train.json, data/images]
    #   - [mine_val, coco_sg, data/val.json, data/images, {flip_predicate_pairs: [[left of, right of]]}]
    # Format: "egtr", "vg_h5", "oiv6", "psg" or "coco_sg" (egtr.data.datasets describes each). For a file with several
    # splits write FILE#split. Relative paths start at the current folder; ~ and $VARIABLES are expanded. A fifth
    # entry holds options of the format and metadata, such as thing_classes, predicate_classes, flip_predicate_pairs
    # (predicates that are exchanged when an image is mirrored), one_predicate_per_pair and exhaustive (true: every
    # relation is annotated, so that evaluation also gives precision).
    cfg.DATASETS.REGISTER = []


def _add_input_config(cfg: CfgNode) -> None:
    # Detectron2's own: INPUT.MIN_SIZE_TRAIN, MAX_SIZE_TRAIN, MIN_SIZE_TEST, MAX_SIZE_TEST (sizes by DETR's rule),
    # RANDOM_FLIP, CROP.ENABLED. With CROP.ENABLED half of the images are resized to a short side chosen from
    # CROP.PRE_RESIZE and cropped to sides between CROP.SIZE[0] and CROP.SIZE[1] before the usual resize.
    # Without a crop: half of the images are resized to a short side out of these before the usual resize, as the
    # released code does when it trains EGTR ([400, 500, 600]). []: every image is resized once.
    cfg.INPUT.PRE_RESIZE = []
    cfg.INPUT.FORMAT = "RGB"
    # Largest number of pixels (height times width). A larger image is refused by its header, before it is decoded.
    # Decoding takes 3 bytes per pixel, and several times as much if colours are converted.
    cfg.INPUT.MAX_PIXELS = 89_478_485
    cfg.INPUT.CROP.TYPE = "absolute_range"
    cfg.INPUT.CROP.SIZE = [384, 600]
    cfg.INPUT.CROP.PRE_RESIZE = [400, 500, 600]
    # If a pair of objects has several predicates, training takes "all" of them, or "one" that is drawn at random each
    # time. "auto": "one" if the dataset's metadata set one_predicate_per_pair (as for Open Images), else "all".
    cfg.INPUT.PREDICATES_PER_PAIR = "auto"

    # Detectron2's own: DATALOADER.NUM_WORKERS, FILTER_EMPTY_ANNOTATIONS, ASPECT_RATIO_GROUPING.
    # Skip images that are missing or cannot be read, and images with errors in their annotations; the log names the
    # first ones and counts all. False: the first such image is an error. In training another image takes its place.
    # In evaluation a broken image counts as one in which nothing was found, so that a broken copy of the data raises
    # no metric. (The protocol `motifs` leaves it out, like all images without predictions.) An image with errors in
    # its annotations is left out, because there is nothing to score against.
    cfg.DATALOADER.SKIP_BROKEN = False
    cfg.DATALOADER.PREDICATE_RESAMPLING = resampling = CfgNode()
    # "none". "repeat_factor": an image appears r times per epoch. r is the largest value, over its predicates p, of
    # r_p = max(1, sqrt(THRESHOLD / f_p)), where f_p is the share of images with predicate p. "bilevel": also, each
    # time the image appears, a relation with predicate p is left out with probability DROP * (r - r_p) / r, as if not
    # annotated. An epoch then has more iterations, but SOLVER.MAX_ITER stays; the log says how many images it has.
    resampling.METHOD = "none"
    resampling.THRESHOLD = 0.07
    resampling.DROP = 0.7


def _add_solver_config(cfg: CfgNode) -> None:
    # Detectron2's own: SOLVER.BASE_LR (transformer), WEIGHT_DECAY, STEPS, GAMMA, MAX_ITER, IMS_PER_BATCH, AMP, and
    # CLIP_GRADIENTS with CLIP_TYPE "full_model", which clips the global norm over all parameters, as in the paper.
    cfg.SOLVER.OPTIMIZER = "AdamW"
    # Learning rate of the backbone, reference points and sampling offsets, as a multiple of BASE_LR.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # Learning rate of new parameters, as a multiple of BASE_LR. The initial checkpoint lacks a new parameter, or has
    # it with another shape or for other labels.
    cfg.SOLVER.NEW_MULTIPLIER = 1.0
    # Parameters that count as new although MODEL.WEIGHTS has them with the same shape. "auto": heads of classes or
    # predicates whose names differ from those of the weights; they also start from scratch. Every other entry is a
    # prefix. For example, a second stage continues from the best weights of a first stage, at a tenth of all rates,
    # with ["relation."]. []: only shapes decide.
    cfg.SOLVER.NEW_PARAMETERS = ["auto"]
    # Your own learning rates, as multiples of BASE_LR, for parameters whose names fit a pattern (* stands for any
    # text): rows of [pattern, multiple], such as ["*sampling_offsets*", 0.05]. The first row that fits counts, and it
    # takes precedence over the keys above. Multiple 0 freezes the parameters, but dropout stays on and ordinary batch
    # norms still update their statistics.
    cfg.SOLVER.LR_MULTIPLIERS = []
    # Micro-batches of IMS_PER_BATCH whose gradients are averaged before each optimizer step.
    cfg.SOLVER.ACCUMULATE_STEPS = 1
    # Number of consecutive steps that may be skipped because a loss or the gradient is NaN or infinite; one more ends
    # the run. With 0 the first one ends it. Such a step never changes weights; the log names its images.
    cfg.SOLVER.SKIP_NON_FINITE = 0
    # Keep only the inputs of the transformer's layers, and run these layers again in the backward pass: less memory,
    # a slower step, the same gradients.
    cfg.SOLVER.ACTIVATION_CHECKPOINTING = False
    # Decay of a moving average of the weights, such as 0.9999: the share of itself that it keeps in each step. 0: no
    # average. The average replaces the trained weights in evaluation and in model_best, and is written to
    # model_ema.pth at the end.
    cfg.SOLVER.EMA_DECAY = 0.0
    # Number of checkpoints of SOLVER.CHECKPOINT_PERIOD that stay on the disk, the newest ones; 0: all. With two or
    # more a run can continue even if the last one is damaged later.
    cfg.SOLVER.KEEP_CHECKPOINTS = 0
    # Precision of the forward pass if Detectron2's SOLVER.AMP.ENABLED is True: "bfloat16", "float16" (only CUDA) or
    # "auto": bfloat16 if the device supports it, else float16.
    cfg.SOLVER.AMP.DTYPE = "auto"


def _add_test_config(cfg: CfgNode) -> None:
    # Detectron2's own: TEST.EVAL_PERIOD, TEST.DETECTIONS_PER_IMAGE (of `instances`).
    # Predict and evaluate with backbone and encoder in bfloat16 (autocast). Decoder, sampling positions, boxes and
    # relations, which decide the scores, stay in float32. This is faster on devices with bfloat16 units (CPUs with
    # avx512_bf16 or amx_bf16, recent GPUs) and slower on others. With DETECTOR_CACHE the detector always runs in
    # float32.
    cfg.TEST.AMP = False
    cfg.TEST.SCENE_GRAPH = CfgNode()
    # Number of triplets that a SceneGraph keeps.
    cfg.TEST.SCENE_GRAPH.TRIPLETS_PER_IMAGE = 100
    # Score of an object: "softmax" over the class logits (as the released evaluation), "sigmoid" (as trained), or
    # "auto": softmax, but sigmoid for a model of one class, because softmax gives each of its objects score 1.
    cfg.TEST.SCENE_GRAPH.OBJECT_SCORE = "auto"
    # Drawings and graphs for people keep an object without a relation if the sigmoid of its class logit is at least
    # this. It is always the sigmoid, because softmax compares classes and knows no background. No metric reads it.
    cfg.TEST.SCENE_GRAPH.OBJECT_THRESHOLD = 0.5
    # An evaluation gives a model only the image ("sgdet"), also the boxes of the annotated objects ("sgcls"), or also
    # their classes ("predcls"). One pass over DATASETS.TEST for each; metrics are called "predcls/R@50" and so on.
    # Elsewhere, as for --latency, the first one counts.
    cfg.TEST.SCENE_GRAPH.TASKS = ["sgdet"]
    # Scoring conventions: names in egtr.evaluation.PROTOCOLS, also with changes ("motifs,iou_plus_one=no"), and YAML
    # files of your own. Metrics of the first are called "sgdet/R@50" and so on, those of others
    # "sgdet_<protocol>/R@50".
    cfg.TEST.SCENE_GRAPH.PROTOCOLS = ["reference"]
    # K of R@K and mR@K.
    cfg.TEST.SCENE_GRAPH.TOPK = [20, 50, 100]
    # Resamples of the images for 95% intervals of R@K and mR@K, such as 1000; 0: no intervals.
    cfg.TEST.SCENE_GRAPH.BOOTSTRAP = 0
    # Write the predictions of the model to OUTPUT_DIR/predictions_<dataset>, for `egtr score` and `egtr compare`. A
    # later evaluation replaces them.
    cfg.TEST.SCENE_GRAPH.SAVE_PREDICTIONS = False
    # Images of DATASETS.TEST[0] whose graphs TensorBoard shows after each evaluation in training; 0: none.
    cfg.TEST.SCENE_GRAPH.VIS_IMAGES = 4
    # Also measure the losses on DATASETS.TEST, in evaluation mode, in a second pass over the images: the metrics
    # "validation/loss" (the weighted sum), "validation/loss_ce" and so on (before they are weighted).
    cfg.TEST.VALIDATION_LOSS = False
    # The checkpoint with the highest value of this metric is kept as model_best; "" keeps none. "auto": "sgdet/R@K"
    # (or another task, the first of TASKS) for the middle K of TOPK (50); "bbox/AP50" without a relation part. Of
    # "validation/loss" the lowest value, as in the released code.
    cfg.TEST.BEST_METRIC = "auto"
    # Training ends after this number of evaluations (TEST.EVAL_PERIOD) in succession without a better value of it;
    # 0: never.
    cfg.TEST.EARLY_STOPPING_PATIENCE = 0


def get_egtr_cfg() -> CfgNode:
    """Make the default configuration of Detectron2 with the keys of EGTR."""
    cfg = get_cfg()
    add_egtr_config(cfg)
    return cfg
