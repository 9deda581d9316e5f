"""Declares the package ``egtr``. Versions are ranges here; ``requirements.txt`` pins one set that works.

Detectron2 is needed but not listed: it has no release on the package index, so naming it would make every
``pip install`` fail. ``import egtr`` says how to get it where it is missing.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# Folders of the clone that the installed package needs too. Their places relative to one another stay, so
# that `_BASE_` entries of the YAML files lead to the same neighbours. egtr/hub/model_zoo.py looks for them.
RESOURCES = {
    "configs": ("*.yaml",),
    "projects/EGTR/configs": ("*.yaml",),
    "projects/EGTR/weights": ("*.safetensors", "*.pth", "*.pkl", "*.onnx", "*.json", "*.md"),
}


class BuildWithResources(build_py):
    """Copies RESOURCES to ``egtr/_resources`` of what is built. An editable install has the clone's own."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "egtr", "_resources")
        # A former build may have left files there that the clone no longer has.
        shutil.rmtree(target, ignore_errors=True)
        for source in self.resources():
            destination = target / source
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, destination)

    def resources(self):
        """List the paths of the files, relative to the root of the clone."""
        files = (
            path
            for folder, patterns in RESOURCES.items()
            for pattern in patterns
            for path in (ROOT / folder).rglob(pattern)
        )
        return sorted(path.relative_to(ROOT) for path in files)

    def get_outputs(self, include_bytecode=1):
        extra = [str(Path(self.build_lib, "egtr", "_resources", path)) for path in self.resources()]
        return super().get_outputs(include_bytecode) + ([] if self.editable_mode else extra)


def read_version():
    # Read as text: importing egtr would import torch, which need not be there while the package is built.
    return re.search(r'^__version__ = "(.+)"$', (ROOT / "egtr/version.py").read_text("utf-8"), re.MULTILINE).group(1)


setup(
    name="egtr",
    version=read_version(),
    description="EGTR: scene graphs from the self-attention of a DETR decoder, as a Detectron2 plugin",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="scene graph generation, visual relationship detection, DETR, Detectron2, PyTorch",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=find_packages(include=["egtr", "egtr.*"]),
    package_data={
        "egtr.config": ["*.txt"],
        "egtr.export": ["page/*"],
        "egtr.structures": ["*.json"],
        "egtr.hub": ["*.yaml"],
        "egtr.visualization.report": ["page/*"],
        "egtr.serving": ["page/*"],
    },
    entry_points={"console_scripts": ["egtr = egtr.cli:main"]},
    cmdclass={"build_py": BuildWithResources},
    python_requires=">=3.11",
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        "scipy>=1.11",
        "pillow>=10.0",
        "opencv-python>=4.8",
        "timm>=1.0",
        "safetensors>=0.4",
        "pycocotools>=2.0.7",
        "faster-coco-eval>=1.6",
        "h5py>=3.8",
        "matplotlib>=3.8",
        "networkx>=3.0",
        "tabulate>=0.9",
        "rich>=13.0",
        "lazy-loader>=0.4",
        "jsonschema>=4.20",
        "omegaconf>=2.3",
        "argcomplete>=3.4",
        "pyyaml>=6.0",
        "tqdm>=4.66",
        "tensorboard>=2.14",
        # egtr.hub. Both are small; timm brings the second one anyway.
        "gdown>=6.5",
        "huggingface_hub>=1.0",
        "filelock>=3.16",
        "requests>=2.31",
        "fvcore>=0.1.5,<0.1.6",
        "iopath>=0.1.9",
        "yacs>=0.1.8",
    ],
    extras_require={
        "dev": [
            "build>=1.0",
            "coverage>=7.10",
            "httpx>=0.27",
            "hypothesis>=6.80",
            "import-linter>=2.4",
            "playwright>=1.40",
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "scikit-image>=0.26",
            "scikit-learn>=1.9",
            "setuptools>=77,<82",
            "trustme>=1.2",
        ],
        # egtr.hub.parquet: datasets of the Hugging Face Hub.
        "data": ["pyarrow>=15"],
        # egtr.serving.
        "web": ["fastapi>=0.115", "python-multipart>=0.0.13", "uvicorn>=0.29"],
        # egtr export --format onnx; egtr.lite runs the result.
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.2"],
        # egtr export --format openvino, --int8 with the second; egtr.lite runs the result with the first.
        "openvino": ["nncf>=3.0", "onnx>=1.16", "onnxscript>=0.2", "openvino>=2025.0"],
        "lite": ["onnxruntime>=1.18"],
        # tests/modeling/test_parity.py compares the detector with it.
        "parity": ["transformers>=5.0"],
        # The documentation as a site; requirements-docs.txt pins them.
        "docs": ["griffelib>=2.0", "mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings-python>=2.0", "ruff>=0.6"],
    },
    zip_safe=False,
)
