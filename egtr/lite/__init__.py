"""Runs an exported model with numpy, Pillow and onnxruntime, without torch and Detectron2.

- ``predictor``  the model of an ``.onnx`` file; it predicts as :class:`egtr.inference.EGTRPredictor` does
- ``session``    the runtime that computes it
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"predictor": ["LitePredictor", "predict"]})
