"""The imports that each room may cause, and the objects that it takes in place of a model."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Rooms that need neither torch nor Detectron2 before something is computed.
LIGHT = """
    egtr egtr.cli egtr.config egtr.evaluation egtr.hub egtr.inference egtr.structures egtr.visualization
    egtr.visualization.report egtr.serving
    egtr.inference.export egtr.inference.report_images egtr.inference.video egtr.inference.window
""".split()
# These with every module in them, but for what plugs scoring into Detectron2.
WHOLE = ("egtr.cli", "egtr.hub", "egtr.structures", "egtr.evaluation", "egtr.visualization", "egtr.serving")
HEAVY = {"egtr.evaluation.evaluator", "egtr.evaluation.registered"}


def modules_of(room: str) -> list[str]:
    files = (ROOT / room.replace(".", "/")).rglob("*.py")
    return sorted(
        {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    )


def test_light_rooms_import_neither_torch_nor_detectron2():
    names = sorted({*LIGHT, *(name for room in WHOLE for name in modules_of(room))} - HEAVY)
    assert len(names) > 60
    code = f"""
import importlib, importlib.util, sys
assert importlib.util.find_spec("torch") and importlib.util.find_spec("detectron2")
for name in {names}:
    importlib.import_module(name)
    found = {{"torch", "detectron2"}} & set(sys.modules)
    assert not found, f"importing {{name}} imports {{found}}"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
