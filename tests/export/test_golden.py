"""Exported models of the recorded cases: the outputs and the best triplets of the model in PyTorch."""

import numpy as np
import pytest
import torch

from egtr.export.network import in_order
from egtr.export.onnx import trace
from egtr.export.openvino import convert
from egtr.lite.session import OUTPUTS, open_session
from egtr.structures import Prediction, SceneGraph
from egtr.structures.agreement import share_of_triplets
from egtr.structures.model_info import ModelInfo
from egtr.structures.prediction import all_pairs
from tests.export.test_onnx import scores_by_hand
from tests.golden_cases import GoldenCase

pytestmark = [
    pytest.mark.own_process,
    pytest.mark.slow,
    # PyTorch's exporter and onnxscript use what newer versions of themselves will drop.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
SAMPLES = ModelInfo(preprocessing={"min_size": 128, "max_size": 224})
# The other cases have the network of one of these.
CASES = [
    "small",
    "small_no_freq_bias",
    "small_logit_adjustment",
    "small_box_refine",
    "small_two_stage",
    "rtdetr_small",
    "rtdetr_wide",
    "rtdetr_eval_early",
    "rtdetr_r50",
]
TOLERANCES = {"logits": 1e-4, "boxes": 1e-5, "connectivity": 1e-4, "relation": 1e-4}


def make_graph(model, arrays):
    logits, boxes, connectivity, relation = arrays
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    pairs = all_pairs(len(logits))
    scores = connectivity.reshape(-1), relation.reshape(len(pairs), -1)
    prediction = Prediction(logits, corners, pairs, *scores, image_size=(1, 1))
    names = [[str(index) for index in range(array.shape[-1])] for array in (logits, relation)]
    return SceneGraph.from_prediction(prediction, *names, 50, model.object_score)


@pytest.mark.parametrize("name", CASES)
def test_recorded_cases(name, tmp_path):
    case = GoldenCase(name)
    model = case.model.eval()
    trace(model, SAMPLES, tmp_path / "m.onnx", None)
    convert(tmp_path / "m.onnx", tmp_path / "m.xml")
    sessions = [open_session(str(tmp_path / file)) for file in ("m.onnx", "m.xml")]
    for inputs in case.inputs:
        pixels = inputs["image"][None].to(torch.float32)
        wanted = scores_by_hand(model, pixels)
        graph = make_graph(model, wanted)
        for session in sessions:
            found = in_order(wanted, session.run(pixels.numpy()))
            for output, ours, theirs in zip(OUTPUTS, wanted, found, strict=True):
                np.testing.assert_allclose(theirs, ours, rtol=0, atol=TOLERANCES[output], err_msg=output)
            assert share_of_triplets(graph, make_graph(model, found)) == 1
