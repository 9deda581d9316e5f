"""The output of a frozen detector that is read from a folder equals its own."""

import os
import pickle

import pytest
import torch

from egtr.structures import ConfigurationError
from tests.modeling.models import image, small_model

FROZEN = ("MODEL.EGTR.FREEZE_DETECTOR", True)


@pytest.fixture
def models(tmp_path):
    """The same model without and with a cache."""
    return small_model(*FROZEN), small_model(*FROZEN, "MODEL.EGTR.DETECTOR_CACHE", str(tmp_path / "cache"))


def refuse(*args):
    raise AssertionError("the detector was asked")


def test_losses_and_gradients_are_the_same_and_the_detector_is_asked_once(models, tmp_path):
    plain, cached = models
    # Images of one size, so that the batch of the plain model has no padding.
    inputs = [image(), image()]
    expected, _ = plain.losses(inputs)
    for asked in (True, False):
        if not asked:
            cached._detect_one = refuse
        found, _ = cached.losses(inputs)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    for model, losses in ((plain, expected), (cached, found)):
        model.criterion.weighted(losses)["loss_rel"].backward()
    for (name, wanted), parameter in zip(plain.named_parameters(), cached.parameters(), strict=True):
        assert (parameter.grad is None) == (wanted.grad is None), name
        if wanted.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted.grad, atol=1e-5, rtol=1e-4)


def test_predictions_of_images_of_all_sizes(models):
    plain, cached = (model.eval() for model in models)
    inputs = [image(48, 64), image(40, 80)]
    expected = [plain([record])[0]["scene_graph"].prediction for record in inputs]
    cached([inputs[1]])
    for found, wanted in zip(cached(inputs), expected, strict=True):
        prediction = found["scene_graph"].prediction
        for field in ("boxes", "logits", "relation"):
            found_values, wanted_values = (torch.as_tensor(getattr(p, field)) for p in (prediction, wanted))
            torch.testing.assert_close(found_values, wanted_values, atol=1e-4, rtol=1e-4)


def test_mixed_precision_is_kept_out(models):
    plain, cached = (model.eval() for model in models)
    images = plain.preprocess_image([image()])
    with torch.no_grad():
        expected = plain.network(images).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = cached.network(images).logits
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_other_weights_and_other_images_have_files_of_their_own(models, tmp_path):
    _, cached = models
    first = image()
    darker = first | {"image": first["image"] // 2}
    cached.losses([first])
    cached.losses([darker])
    assert len(list((tmp_path / "cache").iterdir())) == 2
    state = cached.state_dict()
    name = next(name for name in state if name.startswith("transformer.") and name.endswith("bias"))
    cached.load_state_dict(state | {name: state[name] + 1})
    cached.losses([first])
    assert len(list((tmp_path / "cache").iterdir())) == 3
    # Weights of the relation part change in every step.
    name = next(name for name in state if name.startswith("relation.") and name.endswith("bias"))
    cached.load_state_dict(cached.state_dict() | {name: state[name] + 1})
    cached.losses([first])
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_replaced_weights_are_other_weights(models, tmp_path):
    """Assigned tensors start at version 0 again, and PyTorch does not count new values of ``data``."""
    (_, cached), record = models, image()
    name = "transformer.reference_points.bias"
    state = {key: tensor.clone() for key, tensor in cached.state_dict().items()}
    for count in (1, 2, 3):
        cached.load_state_dict({**state, name: state[name] + count}, assign=True)
        cached.losses([record])
    cached.get_parameter(name).data = state[name] + 4
    cached.losses([record])
    assert len(list((tmp_path / "cache").iterdir())) == 4


class Malicious:
    """An object whose pickle creates a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", ["pickle", "torch", "cut", "empty"])
def test_a_damaged_file_runs_no_code_and_is_made_again(models, tmp_path, caplog, damage):
    _, cached = models
    record = image()
    expected, _ = cached.losses([record])
    [path] = (tmp_path / "cache").iterdir()
    sound = path.read_bytes()
    if damage == "torch":
        torch.save({"logits": Malicious(tmp_path / "trace")}, path)
    else:
        pickled = pickle.dumps(Malicious(tmp_path / "trace"))
        path.write_bytes({"pickle": pickled, "cut": sound[:-100], "empty": b""}[damage])
    found, _ = cached.losses([record])
    assert f"{path}: cannot be read" in caplog.text
    assert found["loss_rel"] == expected["loss_rel"]
    assert path.read_bytes() == sound and not (tmp_path / "trace").exists()


@pytest.mark.parametrize("options", [(), (*FROZEN, "MODEL.EGTR.AUX_LOSS", True)])
def test_needs_a_detector_that_does_not_change(options):
    with pytest.raises(ConfigurationError, match="DETECTOR_CACHE.*FREEZE_DETECTOR True and AUX_LOSS False"):
        small_model(*options, "MODEL.EGTR.DETECTOR_CACHE", "anywhere")
