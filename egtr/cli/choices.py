"""Names that arguments take. A test holds them against the modules that they come from, which import too much."""

# egtr.inference.export
IMAGE_FORMATS = ("png", "jpg", "pdf", "svg")
GRAPH_FORMATS = ("json", "graphml")
# In place of a drawing.
DATA_FORMAT = "json"
# egtr.inference.video
VIDEO_FORMATS = ("mp4", "webm", "avi")
# egtr.data.sources
MEDIA_FORMATS = (
    *("avif", "bmp", "gif", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp"),
    *("avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "ts", "webm", "wmv"),
)
# egtr.data.datasets and egtr.data.convert
DATASET_FORMATS = ("coco_sg", "egtr", "oiv6", "psg", "vg_h5")
CONVERT_SOURCES = (*DATASET_FORMATS, "label_studio")
CONVERT_TARGETS = ("coco_sg", "egtr", "vg_h5")
# egtr.evaluation.protocols
PROTOCOLS = (
    *("reference", "motifs", "pysgg", "vrd", "openpsg", "sgg_benchmark", "sgbench"),
    *("iou0", "no_pair_dedup", "strict", "single"),
)
# egtr.evaluation.conventions
TASKS = ("sgdet", "sgcls", "predcls")
# egtr.evaluation.foreign_dumps
DUMPS = ("sgb", "openpsg", "sgbench", "pysgg_oi")
# egtr.checkpoint.files
WEIGHTS_FORMATS = ("safetensors", "pth")
# egtr.config.defaults: sections and keys at the top of a configuration
SECTIONS = ("MODEL", "INPUT", "DATASETS", "DATALOADER", "SOLVER", "TEST", "GLOBAL")
TOP_KEYS = ("VERSION", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK", "VIS_PERIOD")
# Models that leave PyTorch.
NETWORK_FORMATS = ("onnx", "openvino")
