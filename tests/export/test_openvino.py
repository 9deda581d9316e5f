"""OpenVINO export: the files compute what the model computes, on images of any size, and open no connection."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import egtr.export.network as network
import egtr.export.openvino as export
from egtr.export import export_openvino
from egtr.lite import LitePredictor
from egtr.lite.session import OUTPUTS, open_session
from egtr.structures import WriteError
from tests.export.test_onnx import INFO, scores_by_hand
from tests.modeling.models import small_model

# PyTorch's exporter and onnxscript use what newer versions of themselves will drop.
pytestmark = [
    pytest.mark.own_process,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(("MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.TWO_STAGE", True), marks=pytest.mark.slow),
        pytest.param(
            ("MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer", "MODEL.EGTR.BACKBONE.OUT_INDICES", [2, 3, 4]),
            marks=pytest.mark.slow,
        ),
        pytest.param(("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer"), marks=pytest.mark.slow),
    ],
    ids=["deformable", "two-stage", "rt-detr", "detr"],
)
def test_the_files_compute_what_the_model_computes(options, tmp_path):
    torch.manual_seed(0)
    model = small_model(*options).train()
    before = dict(model.named_modules())
    implementations = [getattr(module, "implementation", None) for module in before.values()]
    file = tmp_path / "model.xml"
    differences = export_openvino(model, INFO, file)
    assert set(differences) == set(OUTPUTS) and max(differences.values()) < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert [getattr(module, "implementation", None) for module in before.values()] == implementations
    # Names of classes and how to rank are in the file; no path of the exporting machine is.
    assert LitePredictor(file).info.class_names == INFO.class_names
    assert b".py" not in file.read_bytes()
    # Each would copy the scores of all pairs.
    assert b'type="Scatter' not in file.read_bytes()

    session = open_session(str(file))
    model.eval()
    for seed, size in enumerate([(64, 96), (72, 65), (101, 64)]):
        pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed)) * 255
        found = session.run(pixels.numpy())
        for name, ours, theirs in zip(OUTPUTS, scores_by_hand(model, pixels), found, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-4, err_msg=f"{name} at {size}")


@pytest.mark.slow
def test_weights_stay_float32(tmp_path):
    import openvino

    model, file = small_model(), tmp_path / "model.xml"
    export_openvino(model, INFO, file, size=(64, 64))
    constants = [op for op in openvino.Core().read_model(file).get_ops() if op.get_type_name() == "Constant"]
    assert "f16" not in {op.get_output_element_type(0).get_type_name() for op in constants}
    assert file.with_suffix(".bin").stat().st_size > 4 * sum(p.numel() for p in model.relation.parameters())


@pytest.mark.slow
def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    model, file = small_model(), tmp_path / "model.xml"
    monkeypatch.setattr(network, "TOLERANCES", dict.fromkeys(OUTPUTS, 1e-12))
    with pytest.raises(WriteError, match=r"model.xml: not written, since \w+ differs from PyTorch by"):
        export_openvino(model, INFO, file, size=(64, 64))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "steps"), [([0.97], [0]), ([0.5, 0.96, 0.965], [0, 1, 2]), ([0.6, 0.5, 0.4, 0.3], [0, 1, 2, 3])]
)
def test_parts_stay_in_float_until_enough_triplets_are_kept(kept, steps, tmp_path, monkeypatch):
    shares, taken = iter(kept), []
    monkeypatch.setattr(export, "share_kept", lambda *args: next(shares))
    monkeypatch.setattr(export, "quantize", lambda model, images, step: taken.append(step) or model)
    images = [np.zeros((64, 64, 3), np.uint8)]
    file = tmp_path / "m.xml"
    if kept[-1] < 0.9:
        with pytest.raises(
            WriteError, match="m.xml: not written, since int8 keeps only 30.0% of .*, less than 96.5%"
        ):
            export_openvino(small_model(), INFO, file, size=(64, 64), calibration=images)
        assert not file.exists()
    else:
        found = export_openvino(small_model(), INFO, file, size=(64, 64), calibration=images)
        assert (found["kept"], found["int8"]) == (kept[-1], 0)
    assert taken == steps


@pytest.mark.slow
def test_nobody_hears_doubts_about_calibration_images(tmp_path, caplog):
    """They would be printed once for each number of parts in float; those about other images still are."""
    file = tmp_path / "model.xml"
    drawings = replace(INFO, name="small", domain="drawings", photograph_threshold=1.0)
    export_openvino(small_model(), drawings, file, size=(64, 64))
    predictor, images = LitePredictor(file), [np.zeros((64, 64, 3), np.uint8)]
    caplog.clear()
    assert export.share_kept(predictor, LitePredictor(file), images) == 1 and not caplog.messages
    assert len(LitePredictor(file)(images[0], "RGB").warnings) == len(caplog.messages) == 2


# Ends the process at the first attempt of Python code to reach another machine, or to look up its address.
WATCH = """
import os, sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        os.write(2, f"{event} {args}".encode())
        os._exit(77)
sys.addaudithook(watch)
os.environ.pop("CI", None)
"""


@pytest.mark.slow
def test_no_connection_is_opened(tmp_path):
    """In a process of its own, since the makers' packages are quiet under pytest and in CI; in int8, too."""
    file = str(tmp_path / "m.xml")
    code = f"""{WATCH}
import numpy as np
import egtr.export.openvino as openvino
from egtr.lite import LitePredictor
from tests.export.test_onnx import INFO
from tests.modeling.models import small_model
openvino.KEPT = 0.0  # the weights are random
images = [np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8) for seed in range(2)]
found = openvino.export_openvino(small_model(), INFO, {file!r}, size=(64, 64), calibration=images)
assert 0 <= found["kept"] <= 1, found
LitePredictor({file!r})(images[0], "RGB")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    # Weights are int8 now.
    assert "FakeQuantize" in (tmp_path / "m.xml").read_text()


def test_the_watch_sees_a_connection():
    code = f"{WATCH}\nimport urllib.request\nurllib.request.urlopen('http://localhost:9/')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 77
