"""The things that the command line can measure. Importing this module imports no torch."""

# Least side of an image, pixels. Each contestant is called once with an image of this size before it is measured.
SMALL = 96
# Contestants of inference. "transformers" is only a detector.
INFERENCE = ("egtr", "egtr_bf16", "literal", "transformers")
# Contestants of a training step. The last two are only detectors.
TRAINING = ("egtr", "literal", "egtr_detector", "transformers")
# Contestants of the relation part.
RELATION = ("egtr", "literal")
# Models whose exports are measured.
RUNTIMES = ("deformable", "rtdetr", "scenes")
# The quantity that grows, to its default values and its label.
AXES = {
    "queries": ((100, 200, 300, 500, 700, 1000), "object queries N"),
    "predicates": ((50, 100, 200, 500, 1000), "predicates R"),
    "side": ((400, 600, 800, 1200, 1600), "side of the (square) image, pixels"),
}
