"""Environments without torch, made from nothing as docs/deployment.md says: small, and with the same graphs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
# Every Python that the library supports and this machine has.
PYTHONS = {version: shutil.which(f"python{version}") for version in ("3.11", "3.12", "3.13")}
# Packages that egtr.lite's own tests need beside it.
FOR_TESTS = ("pytest", "hypothesis", "onnx")


class Environment:
    """A virtual environment in a folder, without the variables of the environment that runs the tests."""

    def __init__(self, folder: Path, python: str):
        self.folder = folder
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        subprocess.run([python, "-m", "venv", folder], check=True)

    def run(self, *words: object, cwd: Path) -> str:
        """Run a program of the environment, and return what it prints; an error is an error of the test."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
        done = subprocess.run(
            [self.bin / str(words[0]), *map(str, words[1:])], cwd=cwd, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *words: object) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", *words, cwd=self.folder)

    def megabytes(self) -> float:
        """Measure all files but pip's and setuptools', which venv brings and nothing needs."""
        (packages,) = self.folder.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages")
        names = [
            path for path in packages.iterdir() if not path.name.startswith(("pip", "setuptools", "pkg_resources"))
        ]
        files = [file for name in names for file in ([name] if name.is_file() else name.rglob("*"))]
        return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def pins(*names: str) -> list[str]:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in names]


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_from_nothing(version, wheel, tmp_path, capsys):
    if PYTHONS[version] is None:
        pytest.skip(f"there is no python{version} on this machine")
    # Here, since drawing scenes needs OpenCV, and the other tests of this folder run without.
    from egtr.data.scenes import draw_scene

    environment = Environment(tmp_path / "lite", PYTHONS[version])
    environment.install("--no-deps", wheel)
    environment.install("-r", ROOT / "requirements-lite.txt")
    work = tmp_path / "work"
    work.mkdir()
    image = draw_scene(0, "test", 234)[0]
    Image.fromarray(image).save(work / "image.png")

    demo = ("egtr", "demo", "image.png", "--model", "scenes")
    graph = json.loads(environment.run(*demo, "--format", "json", cwd=work))
    small = environment.megabytes()
    assert small <= 230
    check_relations(graph["relations"], image)
    code = "import egtr.lite; from egtr.hub.model_zoo import get_exported_file as find\n"
    code += "(graph,) = egtr.lite.predict(find('scenes'), 'image.png'); print(len(graph.triplets))"
    assert environment.run("python", "-c", code, cwd=work) == "100\n"
    with pytest.raises(AssertionError, match="error: the package matplotlib is missing, .* pip install matplotlib"):
        environment.run(*demo, "--output", "drawn", cwd=work)
    seconds = float(environment.run("python", "-c", CPU_TIME, cwd=work).splitlines()[-1])

    environment.install("-r", ROOT / "requirements-lite-serve.txt")
    environment.run(*demo, "--output", "drawn", cwd=work)
    assert sorted(path.name for path in (work / "drawn").iterdir()) == ["image.json", "image.png"]
    assert "page.html: 1 image" in environment.run("egtr", "report", "image.png", "--output", "page.html", cwd=work)
    assert environment.run("python", "-c", SERVE, cwd=work).splitlines()[-1] == str(graph["relations"][0])
    large = environment.megabytes()
    assert large <= 350
    with capsys.disabled():
        print(f"\nPython {version}: {small:.0f} and {large:.0f} MB, first graph after {seconds:.2f} s of CPU time")
    installed = environment.run("python", "-m", "pip", "list", "--format", "freeze", cwd=work)
    assert not any(line.startswith(("torch", "detectron2", "opencv", "scipy")) for line in installed.splitlines())

    environment.install(*pins(*FOR_TESTS))
    words = ("-q", "-p", "no:cacheprovider", "-m", "not slow", ROOT / "tests/lite")
    assert " passed" in environment.run("python", "-m", "pytest", *words, cwd=ROOT)


# Prints the CPU time of the command and of nothing else.
CPU_TIME = """
import time
from egtr.cli import main
main(["demo", "image.png", "--model", "scenes", "--format", "json"])
print(time.process_time())
"""
# Answers one request without a port, and prints the best relation.
SERVE = """
from egtr.serving import Limits, ModelStore, create_app
from egtr.serving.answers import predict
from egtr.serving.schema import Selection
from egtr.serving.worker import Worker
from egtr.data.image import load_image
store = ModelStore(["scenes"])
create_app(store, Worker(Limits()))
graph = predict(store.load("scenes"), load_image("image.png"), "image.png", Selection())
print(graph.to_dict()["relations"][0])
"""


def check_relations(found: list[dict], image: np.ndarray) -> None:
    """Compare relations with those that the model in PyTorch finds."""
    from egtr.inference import EGTRPredictor

    wanted = EGTRPredictor.create("scenes")(image, "RGB").for_display().to_dict()["relations"]
    keys = ("subject", "predicate", "object")
    assert [[row[key] for key in keys] for row in found] == [[row[key] for key in keys] for row in wanted]
    assert len(found) > 3
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in wanted], abs=1e-4)
