"""The sweep files of the projects: what they share, how many runs they are, and that every model can be built."""

from pathlib import Path

import pytest
from detectron2.modeling import build_model

from egtr.checkpoint import EGTRCheckpointer, find_new_parameters
from egtr.config import import_extensions, load_config
from egtr.experiments.sweep.definition import load_sweep, to_options

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("joint", "detector_alone", "pair_functions", "tasks", "scratch")
FILES = [
    *(ROOT / f"projects/EGTR/sweeps/{name}.yaml" for name in NAMES),
    ROOT / "projects/Baselines/sweeps/families.yaml",
]
# Their runs share nothing with the others.
DETECTORS = ROOT / "projects/EGTR/sweeps/detectors.yaml"
EXTENSIONS = (
    *(f"EGTR/{name}.py" for name in ("smoothing_controls", "detached", "auxiliary_tasks")),
    "Baselines/baselines/__init__.py",
)


@pytest.fixture
def load(monkeypatch):
    monkeypatch.chdir(ROOT)
    import_extensions(str(ROOT / "projects" / name) for name in EXTENSIONS)
    return load_sweep


def test_joint_training_fits_into_its_budget(load):
    runs = {(run.folder, run.fingerprint) for path in FILES for run in load(path).runs()}
    folders = {folder for folder, _ in runs}
    # A folder stands for one run, whichever file starts it.
    assert len(runs) == len(folders) == 96
    # `base` is trained once; from scratch it is another run.
    assert sum(folder.parent.name == "base" for folder in folders) == 3 + 3
    assert {load(path).baseline for path in FILES} == {"base", "no connectivity"}


def test_families_are_compared_at_equal_parameters(load):
    settings = load(FILES[-1]).settings
    sizes = {}
    for name in ("base", "EGTR, wide heads", "Relationformer", "RelTR"):
        model = build_model(load_config(load(FILES[-1]).config, to_options(settings[name])))
        sizes[name] = sum(parameter.numel() for parameter in model.parameters())
    assert sizes["Relationformer"] == pytest.approx(sizes["base"], rel=0.03)
    assert sizes["RelTR"] == pytest.approx(sizes["EGTR, wide heads"], rel=0.03)


def test_detectors_start_from_all_that_ships_of_them(load):
    """Only relations and the parts that denoising adds are new."""
    sweep = load(DETECTORS)
    assert len(sweep.runs()) == 6 and sweep.baseline == "Deformable"
    new_parts = {}
    for name, overrides in sweep.settings.items():
        cfg = load_config(sweep.config, [*to_options(overrides), "MODEL.DEVICE", "cpu"])
        checkpointer = EGTRCheckpointer(build_model(cfg))
        checkpointer.load(cfg.MODEL.WEIGHTS)
        new = find_new_parameters(checkpointer.model, checkpointer.incompatible)
        new_parts[name] = {"relation" if n.startswith("relation.") else n.rpartition(".")[0] for n in new}
    assert new_parts == {
        "Deformable": {"relation", "transformer.label_embed", "transformer.box_position"},
        "RT-DETR": {"relation"},
    }


@pytest.mark.parametrize("path", [*FILES, DETECTORS], ids=lambda path: path.stem)
def test_every_setting_is_a_model(load, path):
    sweep = load(path)
    for overrides in sweep.settings.values():
        assert build_model(load_config(sweep.config, [*to_options(overrides), "MODEL.DEVICE", "cpu"])).training
