"""The package as others get it: the wheel, its metadata, and its error where Detectron2 is missing."""

import email
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import egtr
from egtr.hub import model_zoo
from tests.running import run_python

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = {
    "configurations": ["configs/**/*.yaml", "projects/EGTR/configs/**/*.yaml"],
    "weights": [f"projects/EGTR/weights/*.{suffix}" for suffix in ("safetensors", "json", "pth", "onnx")],
}

# Hides modules, as if they were not installed.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(file.read(name))


def test_wheel_holds_code_configs_weights_and_licence(wheel):
    assert wheel.name == f"egtr-{egtr.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "egtr").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    others = [path for pattern in ("page/*", "*.json", "*.yaml", "*.txt") for path in (ROOT / "egtr").rglob(pattern)]
    assert {path.relative_to(ROOT).as_posix() for path in others} <= names
    for kind, patterns in SHIPPED.items():
        paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
        shipped = {path.relative_to(ROOT).as_posix() for path in paths}
        assert shipped, f"the clone has no {kind}"
        assert {f"egtr/_resources/{name}" for name in shipped} <= names
    assert not any("gone" in name or name.startswith(("benchmarks", "tests", "tools")) for name in names)
    assert f"egtr-{egtr.__version__}.dist-info/licenses/LICENSE" in names


def test_wheel_declares_its_needs(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("egtr", egtr.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) >= {"dev"}
    needs = {Requirement(text).name for text in metadata.get_all("Requires-Dist")}
    assert {"torch", "fvcore", "iopath", "timm", "scipy", "pycocotools", "opencv-python"} <= needs
    # An index has no detectron2: naming it would make every installation fail.
    assert "detectron2" not in needs


def test_pins_lie_within_the_declared_ranges(metadata):
    text = "".join((ROOT / name).read_text() for name in ("requirements.txt", "requirements-docs.txt"))
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pins = {}
    for line in filter(None, lines):
        name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()
        pins[name] = version
    for text in metadata.get_all("Requires-Dist"):
        need = Requirement(text)
        assert need.name in pins, f"neither requirements.txt nor requirements-docs.txt pins {need.name}"
        assert need.specifier.contains(pins[need.name]), f"{need}, but {pins[need.name]} is pinned"


def test_lite_environments_have_the_pinned_versions():
    pinned = set((ROOT / "requirements.txt").read_text("utf-8").splitlines())
    for name in ("requirements-lite.txt", "requirements-lite-serve.txt"):
        lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if "==" in line]
        assert len(lines) > 3 and set(lines) <= pinned


def test_installed_wheel_works_outside_a_clone(site, tmp_path):
    """Used from another folder, it finds its configurations, with their bases, and its weights."""
    code = """
import json
import egtr
from detectron2.config import get_cfg
from detectron2.utils.file_io import PathManager
from egtr.config import add_egtr_config
from egtr.data.scenes import draw_scene
from egtr.hub import model_zoo
cfg = get_cfg()
add_egtr_config(cfg)
cfg.merge_from_file(model_zoo.get_config_file("ablations/no_gate.yaml"))
weights = [PathManager.get_local_path(f"egtr://weights/{name}") for name in model_zoo.list_weights()]
configs = [model_zoo.get_config_file(name) for name in model_zoo.list_configs()]
(graph,) = egtr.predict("scenes", draw_scene(0, "test", 0)[0], "RGB")
found = {"egtr": egtr.__file__, "configs": configs, "weights": weights, "graph": graph.filter(top_k=5).to_dict()}
found["schema"] = egtr.SceneGraph.json_schema()["title"]
print(json.dumps(found))
"""
    result = run_python("-c", code, cwd=tmp_path, search=[site])
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    resources = site / "egtr/_resources"
    assert found["egtr"] == str(site / "egtr/__init__.py")
    # The shipped model answers, by name, with names.
    relations = found["graph"]["relations"]
    assert len(relations) == 5 and {row["predicate"] for row in relations} <= set(found["graph"]["predicate_names"])
    assert found["schema"] == "EGTR scene graph"
    assert len(found["configs"]) == len(model_zoo.list_configs())
    assert len(found["weights"]) == len(model_zoo.list_weights()) > 0
    for path in found["configs"] + found["weights"]:
        original = ROOT / Path(path).relative_to(resources)
        assert Path(path).read_bytes() == original.read_bytes()


def test_setup_needs_nothing_but_setuptools(tmp_path):
    """pip reads setup.py before anything that it declares is installed."""
    code = BLOCK.format(blocked=["torch", "numpy", "detectron2", "egtr"]) + (
        f"import os, runpy\nos.chdir({str(ROOT)!r})\nsys.argv = ['setup.py', '--name', '--version']\n"
        "runpy.run_path('setup.py', run_name='__main__')"
    )
    result = run_python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["egtr", egtr.__version__]


@pytest.mark.parametrize("missing", ["detectron2", "torch"])
def test_missing_detectron2_gives_one_helpful_error(missing, tmp_path):
    code = """
for use in (
    "import egtr; egtr.EGTR",
    "import egtr; egtr.register()",
    "from egtr import get_egtr_cfg",
    "from egtr import predict",
    "from egtr.config import load_config",
    "from egtr.data import build_train_loader",
    "from egtr.engine import launch",
    "from egtr.modeling.criterion import SetCriterion",
    "from egtr.checkpoint import convert_name",
    "from egtr.layers import MLP",
    "from egtr.evaluation import SceneGraphEvaluator",
):
    try:
        exec(use)
    except ImportError as error:
        print(use, "->", error)
    else:
        raise AssertionError(use)
"""
    result = run_python("-c", BLOCK.format(blocked=[missing]) + code, cwd=tmp_path, search=[ROOT])
    assert result.returncode == 0, result.stderr
    hint = f"which this Python ({sys.executable}) does not have: there is no module {missing}.\n"
    assert result.stdout.count(hint) == result.stdout.count("->") == 11
    assert "make setup" in result.stdout and "python tools/setup/install_detectron2.py" in result.stdout


def test_structures_and_scoring_need_neither_torch_nor_detectron2(tmp_path):
    code = """
import sys
import egtr.evaluation, egtr.structures
from egtr import EGTRError, Prediction, SceneGraph, __version__, evaluation
assert not {"torch", "torchvision", "timm", "detectron2"} & set(sys.modules)
assert not hasattr(egtr, "no_such_name")
prediction = Prediction([[2.0, 0.0], [0.0, 2.0]], [[0, 0, 9, 9], [5, 5, 20, 20]], [[0, 1]], [1.0], [[0.9]], (30, 30))
truth = egtr.structures.GroundTruth(prediction.boxes, [0, 1], [[0, 1, 0]])
print(evaluation.evaluate([prediction], [truth])["R@20"], SceneGraph.from_prediction(prediction))
"""
    blocked = ["torch", "torchvision", "timm", "detectron2", "fvcore", "iopath"]
    result = run_python("-c", BLOCK.format(blocked=blocked) + code, cwd=tmp_path, search=[ROOT])
    assert result.returncode == 0, result.stderr
    # The one annotated triplet is the one predicted.
    assert result.stdout.startswith("1.0 SceneGraph")


def test_folder_that_hides_detectron2_is_named(tmp_path):
    """A fresh clone of Detectron2 in the working directory imports as an empty namespace package."""
    (tmp_path / "detectron2").mkdir()
    # The installed one would win over a namespace package, so it is hidden behind a finder for this one name.
    code = """
import importlib.machinery, sys
class OnlyFolder:
    def find_spec(self, name, path=None, target=None):
        if name == "detectron2":
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [sys.path[0] + "detectron2"]
            return spec
sys.meta_path.insert(0, OnlyFolder())
import egtr
egtr.EGTR
"""
    result = run_python("-c", code, cwd=tmp_path, search=[ROOT])
    assert result.returncode != 0
    assert "detectron2 has that name but is not the package" in result.stderr


def test_error_inside_detectron2_stays_as_it_is(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/__init__.py").write_text("import fvcore")
    code = BLOCK.format(blocked=["fvcore"]) + "import egtr\negtr.EGTR"
    result = run_python("-c", code, cwd=tmp_path, search=[tmp_path, ROOT])
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1].startswith("ModuleNotFoundError: No module named 'fvcore")
