"""Code of a user's own file, named on the command line and in the configuration."""

import json

import pytest

from egtr.checkpoint import load_checkpoint_file
from egtr.config import egtr_argument_parser, import_extensions
from egtr.engine import train_or_evaluate
from egtr.structures import EGTRError

PARTS = """
import torch
from torch import nn
from egtr.modeling import (
    CONNECTIVITY_HEAD_REGISTRY,
    PAIR_FUNCTION_REGISTRY,
    RELATION_HEAD_REGISTRY,
    RELATION_TASK_REGISTRY,
    TRANSFORMER_REGISTRY,
    DeformableTransformer,
    PairFeatures,
    RelationTask,
)


@RELATION_HEAD_REGISTRY.register()
class OneLayerHead(nn.Module):
    def __init__(self, cfg, input_dim):
        super().__init__()
        self.linear = nn.Linear(input_dim, cfg.MODEL.EGTR.NUM_PREDICATES)

    def forward(self, pairs):
        return pairs.linear(self.linear)


@CONNECTIVITY_HEAD_REGISTRY.register()
class OneLayerConnectivity(nn.Module):
    def __init__(self, cfg, input_dim):
        super().__init__()
        self.linear = nn.Linear(input_dim, 1)

    def forward(self, pairs):
        return pairs.linear(self.linear)[..., 0]


@PAIR_FUNCTION_REGISTRY.register()
class DifferencePairs(PairFeatures):
    @staticmethod
    def width(dim):
        return dim

    def source_scores(self, weight, bias):
        return (self.subjects @ weight)[..., :, None] - (self.objects @ weight)[..., None, :] + bias

    def linear(self, layer):
        subjects, objects = self.subjects @ layer.weight.T, -self.objects @ layer.weight.T
        return self.gated_sum(subjects, objects) + layer.bias


@RELATION_TASK_REGISTRY.register()
class NothingRelatedTask(RelationTask):
    name, weight = "nothing", 0.1

    def __init__(self, cfg, input_dim):
        super().__init__()
        self.linear = nn.Linear(input_dim, 1)

    def forward(self, pairs):
        return pairs.linear(self.linear)

    def loss(self, predicted, targets, matches):
        return predicted.square().mean()


@TRANSFORMER_REGISTRY.register()
class LargeBoxesTransformer(DeformableTransformer):
    def forward(self, features, valid):
        out = super().forward(features, valid)
        out.pred_boxes = [boxes.sqrt() for boxes in out.pred_boxes]
        return out
"""


def test_parts_in_an_own_file_train(tmp_path, tiny_options):
    """An entry of each registry, from a file outside the package, named in a YAML file."""
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "mine.yaml").write_text(
        """
MODEL:
  EGTR:
    TRANSFORMER: {NAME: "LargeBoxesTransformer"}
    RELATION:
      HEAD: "OneLayerHead"
      CONNECTIVITY_HEAD: "OneLayerConnectivity"
      SOURCE: {PAIR_FUNCTION: "DifferencePairs"}
      TASKS: ["NothingRelatedTask"]
"""
    )
    options = {**tiny_options, "OUTPUT_DIR": str(tmp_path / "run")}
    words = [str(word) for pair in options.items() for word in pair]
    own = ["--extension", str(tmp_path / "my_parts.py"), "--config-file", str(tmp_path / "mine.yaml")]
    assert "sgdet" in train_or_evaluate(egtr_argument_parser().parse_args([*own, *words]))
    weights = load_checkpoint_file(str(tmp_path / "run" / "model_final.pth"))["model"]
    # Width 32 for the difference of two vectors of 32; 4 predicates.
    assert weights["relation.relation_head.linear.weight"].shape == (4, 32)
    assert weights["relation.connectivity_head.linear.weight"].shape == (1, 32)
    assert "relation.tasks.nothing.linear.weight" in weights
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert any("loss_nothing" in entry for entry in logged)
    # A second import must not register the parts again, which the registries would refuse.
    import_extensions([str(tmp_path / "my_parts.py")])


def test_missing_file_and_module(tmp_path):
    with pytest.raises(EGTRError, match=r"nowhere\.py: there is no such file"):
        import_extensions([str(tmp_path / "nowhere.py")])
    with pytest.raises(EGTRError, match="nobody_wrote_this: there is no such module"):
        import_extensions(["nobody_wrote_this"])


def test_an_error_inside_is_the_files_own(tmp_path):
    (tmp_path / "broken.py").write_text("import torch\n1 / 0\n")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            import_extensions([str(tmp_path / "broken.py")])


def test_a_module_that_a_module_lacks_is_not_the_module(tmp_path, monkeypatch):
    """The name of what is missing is the beginning of the name of what is asked for."""
    (tmp_path / "foobar.py").write_text("import foo\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'foo'"):
        import_extensions(["foobar"])
    with pytest.raises(EGTRError, match="foo.bar: there is no such module"):
        import_extensions(["foo.bar"])
