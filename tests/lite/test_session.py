"""The runtime that is chosen, and what each of them refuses."""

import functools
import importlib.util
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from egtr.lite.session import OnnxSession, OpenVINOSession, _make_core, open_session, openvino_core
from egtr.structures import ConfigurationError, WeightsError
from tests.lite.known_model import write_model
from tests.running import run_python

pytestmark = [
    pytest.mark.own_process,
    pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None,
        reason="an environment of egtr.lite has only one of the runtimes",
    ),
]


@pytest.fixture
def files(tmp_path):
    import openvino

    onnx = write_model(tmp_path / "m.onnx")
    openvino.save_model(openvino.Core().read_model(onnx), tmp_path / "m.xml", compress_to_fp16=False)
    return str(onnx), str(tmp_path / "m.xml")


def test_both_runtimes_agree(files):
    image = np.full((1, 3, 8, 12), 51, np.float32)
    sessions = [open_session(files[0]), open_session(files[0], runtime="openvino"), open_session(files[1], threads=1)]
    assert [type(session) for session in sessions] == [OnnxSession, OpenVINOSession, OpenVINOSession]
    first, *others = [session.run(image) for session in sessions]
    assert first[0][0, 0] == pytest.approx(51 / 255)
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-6)
    assert sessions[0].metadata == sessions[1].metadata == sessions[2].metadata


def test_openvino_runs_onnx_files_where_only_it_is_installed(files, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert isinstance(open_session(files[0]), OpenVINOSession)


def test_signals_are_handled_after_models_were_closed(files):
    """Each core of OpenVINO changes the signal stack, and two of them would leave one that is freed already."""
    code = f"""
import os, signal
from egtr.lite.session import open_session
heard = []
signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
first, second = open_session({files[1]!r}), open_session({files[1]!r})
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
assert len(heard) == 1
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr


def test_threads_share_a_core(monkeypatch):
    class SlowCore:
        def __init__(self):
            time.sleep(0.2)

    monkeypatch.setattr("openvino.Core", SlowCore)
    monkeypatch.setattr("egtr.lite.session._make_core", functools.cache(_make_core.__wrapped__))
    with ThreadPoolExecutor(4) as pool:
        cores = list(pool.map(lambda _: openvino_core(), range(4)))
    assert len(set(cores)) == 1 and isinstance(cores[0], SlowCore)


def test_float32_is_float32(files):
    """OpenVINO chooses bfloat16 by itself on processors that have it."""
    session = open_session(files[1])
    assert session._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def test_what_is_refused(files, tmp_path, monkeypatch):
    onnx, xml = files
    for options, message in (
        ({"runtime": "tensorrt"}, "runtime 'tensorrt': give onnxruntime or openvino"),
        ({"precision": "int4"}, "precision 'int4': give one of float32, bfloat16, float16"),
        ({"threads": -1}, "threads is -1; give 0 for all cores, or the number of threads"),
        ({"providers": "ToasterExecutionProvider"}, "provider ToasterExecutionProvider: this onnxruntime has only"),
        ({"precision": "bfloat16"}, "precision bfloat16: onnxruntime keeps to the file's"),
        ({"runtime": "openvino", "providers": ["TOASTER"]}, "device TOASTER: this OpenVINO finds only .*CPU"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            open_session(onnx, **options)
    (tmp_path / "text.xml").write_text("no model")
    (tmp_path / "text.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"text.xml: openvino cannot open it .*Export the model again"):
        open_session(str(tmp_path / "text.xml"))
    with pytest.raises(WeightsError, match=r"nowhere.xml: there is no such file"):
        open_session(str(tmp_path / "nowhere.xml"))
    (tmp_path / "m.bin").unlink()
    with pytest.raises(WeightsError, match=r"m.bin: there is no such file"):
        open_session(xml)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("egtr.lite.session._make_core", _make_core.__wrapped__)  # No core of an earlier test.
    with pytest.raises(ConfigurationError, match="openvino is missing, which runs .xml models: pip install openvino"):
        open_session(xml)
