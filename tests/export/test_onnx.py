"""ONNX export: the file computes what the model computes, on images of any size."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import egtr.export.network as export
from egtr.export import export_onnx
from egtr.lite.predictor import OBJECT_SCORE, TRIPLETS
from egtr.lite.session import INPUT, OUTPUTS
from egtr.structures import ConfigurationError, WriteError
from egtr.structures.model_info import METADATA_KEY, ModelInfo
from tests.modeling.models import small_model

INFO = ModelInfo(
    class_names=("a", "b"), preprocessing={"format": "RGB", "min_size": 64, "max_size": 112}, domain="drawings"
)
# The detector that is exported soonest, for tests of all else.
QUICK = ("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer", "MODEL.EGTR.TRANSFORMER.DEC_LAYERS", 1)
# PyTorch's exporter and onnxscript use what newer versions of themselves will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def scores_by_hand(model, pixels):
    """Compute the four outputs of one image without the wrapper of the export."""
    with torch.no_grad():
        output = model.network(model.preprocess_image([{"image": pixels[0]}]))
    connectivity = output.connectivity_logits
    connectivity = torch.ones(output.relation_logits.shape[:3]) if connectivity is None else connectivity.sigmoid()
    tensors = output.logits, output.pred_boxes, connectivity, output.relation_logits.sigmoid()
    return [tensor[0].numpy() for tensor in tensors]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("MODEL.EGTR.WITH_BOX_REFINE", True), marks=pytest.mark.slow),
        pytest.param(("MODEL.EGTR.WITH_BOX_REFINE", True, "MODEL.EGTR.TWO_STAGE", True), marks=pytest.mark.slow),
        pytest.param(
            ("MODEL.EGTR.TRANSFORMER.NAME", "RTDETRTransformer", "MODEL.EGTR.BACKBONE.OUT_INDICES", [2, 3, 4]),
            marks=pytest.mark.slow,
        ),
        pytest.param(("MODEL.EGTR.TRANSFORMER.NAME", "DETRTransformer"), marks=pytest.mark.slow),
        pytest.param(("MODEL.EGTR.RELATION.CONNECTIVITY_HEAD", ""), marks=pytest.mark.slow),
        pytest.param(("MODEL.EGTR.RELATION.SOURCE.PAIR_FUNCTION", "HadamardPairs"), marks=pytest.mark.slow),
    ],
    ids=["deformable", "two-stage", "rt-detr", "detr", "no connectivity", "hadamard"],
)
def test_the_file_computes_what_the_model_computes(options, tmp_path):
    """Exported before any other call of the model: nothing must stay behind that the next call stumbles on."""
    torch.manual_seed(0)
    model = small_model(*options).train()
    learned = [parameter.requires_grad for parameter in model.parameters()]
    file = tmp_path / "model.onnx"
    differences = export_onnx(model, INFO, file)
    assert set(differences) == set(OUTPUTS) and max(differences.values()) < 1e-4
    assert model.training and [parameter.requires_grad for parameter in model.parameters()] == learned

    session = onnxruntime.InferenceSession(str(file))
    model.eval()
    for seed, size in enumerate([(64, 96), (72, 65), (101, 64)]):
        pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed)) * 255
        found = session.run(list(OUTPUTS), {INPUT: pixels.numpy()})
        for name, ours, theirs in zip(OUTPUTS, scores_by_hand(model, pixels), found, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-4, err_msg=f"{name} at {size}")


def test_the_record_travels_in_the_file(tmp_path, caplog):
    model = small_model(*QUICK, "TEST.SCENE_GRAPH.TRIPLETS_PER_IMAGE", 7)
    file = tmp_path / "model.onnx"
    export_onnx(model, INFO, file, size=(64, 96))
    proto = onnx.load(file)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    info = ModelInfo.from_json(metadata[METADATA_KEY])
    assert info.preprocessing == {**INFO.preprocessing, "fixed_size": [64, 96]}
    assert (info.class_names, info.domain) == (INFO.class_names, INFO.domain)
    assert metadata[OBJECT_SCORE] == model.object_score and metadata[TRIPLETS] == "7"
    # A fixed size is really fixed, and no path of the exporting machine is left in the file.
    assert [entry.dim_value for entry in proto.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 96]
    assert b".py" not in file.read_bytes()
    # The decoder's Split is none of the user's business.
    assert "Skipping constant folding" not in caplog.text


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    model, file = small_model(*QUICK), tmp_path / "model.onnx"
    file.write_bytes(b"older")
    monkeypatch.setattr(export, "TOLERANCES", dict.fromkeys(OUTPUTS, 1e-12))
    with pytest.raises(WriteError, match=r"model.onnx: not written, since \w+ differs from PyTorch by"):
        export_onnx(model, INFO, file, size=(64, 64))
    assert file.read_bytes() == b"older" and [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def draw_outputs(num_queries=5):
    generator = np.random.default_rng(0)
    shapes = (num_queries, 3), (num_queries, 4), (num_queries,) * 2, (num_queries, num_queries, 2)
    return [generator.random(shape, dtype=np.float32) for shape in shapes]


def test_queries_in_another_order_are_the_same():
    """Rounding decides the order of queries that are chosen by nearly equal scores."""
    wanted, order = draw_outputs(), np.array([0, 2, 1, 4, 3])
    logits, boxes, connectivity, relation = wanted
    found = [logits[order], boxes[order], connectivity[order][:, order], relation[order][:, order]]
    image, tensors = torch.zeros(1, 3, 4, 4), [torch.from_numpy(array) for array in wanted]
    differences = export.check_outputs(lambda _: found, [image], [tensors], "m.onnx")
    assert differences == dict.fromkeys(OUTPUTS, 0.0)
    for index, name in enumerate(OUTPUTS):
        wrong = list(found)
        wrong[index] = wanted[index]
        with pytest.raises(WriteError, match=r"m\.onnx: not written, since .* differs"):
            export.check_outputs(lambda _, wrong=wrong: wrong, [image], [tensors], "m.onnx")
        # One value is not a number, and the order of the queries is that of the model.
        broken = [array.copy() for array in wanted]
        broken[index].flat[0] = np.nan
        with pytest.raises(WriteError, match=f"{name} differs from PyTorch by inf"):
            export.check_outputs(lambda _, broken=broken: broken, [image], [tensors], "m.onnx")


def test_equal_queries_stay_in_their_order():
    wanted = draw_outputs()
    for array in wanted[:2]:
        array[1] = array[0]
    for ours, theirs in zip(wanted, export.in_order(wanted, wanted), strict=True):
        assert np.array_equal(ours, theirs)


def test_what_cannot_be_exported(tmp_path):
    file = tmp_path / "model.onnx"
    with pytest.raises(ConfigurationError, match="RELATION.ENABLED is False: a detector has no graphs"):
        export_onnx(small_model("MODEL.EGTR.RELATION.ENABLED", False), INFO, file)
    with pytest.raises(ConfigurationError, match="lacks preprocessing.min_size"):
        export_onnx(small_model(), ModelInfo(), file)
    assert not file.exists()


def test_a_detector_that_cannot_be_traced_is_one_error(tmp_path, monkeypatch):
    """As a detector from outside the package may be."""
    model, file = small_model(*QUICK), tmp_path / "model.onnx"
    forward = type(model.transformer).forward

    def look_at_values(self, features, valid):
        return forward(self, features, valid) if next(iter(features.values())).sum() > 0 else None

    monkeypatch.setattr(type(model.transformer), "forward", look_at_values)
    message = (
        r"cannot trace DETRTransformer \(MODEL.EGTR.TRANSFORMER.NAME\) .*data-dependent.* by the values of tensors$"
    )
    with pytest.raises(ConfigurationError, match=message) as caught:
        export_onnx(model, INFO, file, size=(64, 96))
    assert "\n" not in str(caught.value) and not file.exists()


def test_half_rounds_the_large_weights_of_the_file_only(tmp_path):
    """The file computes what the model with rounded weights computes; the model itself stays as it was."""
    torch.manual_seed(0)
    model, file = small_model().eval(), tmp_path / "model.onnx"
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_onnx(model, INFO, file, size=(64, 96), half=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    stored = [tensor for tensor in onnx.load(file).graph.initializer if np.prod(tensor.dims) >= 1024]
    half = [tensor for tensor in stored if tensor.data_type == onnx.TensorProto.FLOAT16]
    large = [tensor for tensor in before.values() if tensor.ndim in (2, 4) and tensor.numel() >= 1024]
    # Folded weights, such as those of convolutions with a frozen norm, are no longer the rounded ones.
    assert len(half) > len(large) / 2 > 0

    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 255
    found = onnxruntime.InferenceSession(str(file)).run(list(OUTPUTS), {INPUT: pixels.numpy()})
    exact = scores_by_hand(model, pixels)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(before[name].half().float() if tensor.ndim in (2, 4) else before[name])
    for name, ours, theirs in zip(OUTPUTS, scores_by_hand(model, pixels), found, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4, err_msg=name)
    assert np.abs(exact[0] - found[0]).max() > 1e-6
