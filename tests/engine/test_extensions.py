"""Code of a user's own file, named on the command line and in the configuration."""

import pytest

from egtr.engine import egtr_argument_parser, import_extensions, train_or_evaluate
from egtr.structures import EGTRError

HEAD = """
import torch
from torch import nn
from egtr import RELATION_HEAD_REGISTRY

@RELATION_HEAD_REGISTRY.register()
class OneLayerHead(nn.Module):
    def __init__(self, cfg, input_dim):
        super().__init__()
        self.linear = nn.Linear(input_dim, cfg.MODEL.EGTR.NUM_PREDICATES)

    def forward(self, pairs):
        return pairs.linear(self.linear)
"""


def test_a_head_in_an_own_file_trains(tmp_path, tiny_options):
    (tmp_path / "my_head.py").write_text(HEAD)
    options = {**tiny_options, "OUTPUT_DIR": str(tmp_path / "run"), "MODEL.EGTR.RELATION.HEAD": "OneLayerHead"}
    words = [str(word) for pair in options.items() for word in pair]
    args = egtr_argument_parser().parse_args(["--extension", str(tmp_path / "my_head.py"), *words])
    assert "sgdet" in train_or_evaluate(args)
    # A second import must not register the head again, which the registry would refuse.
    import_extensions([str(tmp_path / "my_head.py")])


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
