"""A model leaves PyTorch.

- ``network``   the part of a model that is exported, and the check of the result
- ``onnx``      ONNX files, which :mod:`egtr.lite` runs
- ``openvino``  files of OpenVINO, which it runs too
- ``web``       a page that runs an ONNX file in the browser
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "onnx": ["export_onnx"],
        "openvino": ["export_openvino"],
        "web": ["export_web", "fetch_runtime"],
    },
)
