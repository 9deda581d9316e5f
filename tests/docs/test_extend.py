"""docs/extend.md: the relation head of the example trains, and the rooms are those of the library."""

import re
import tomllib

from egtr.config import egtr_argument_parser
from egtr.engine import train_or_evaluate
from tests.docs.commands import ROOT, code_blocks

TEXT = (ROOT / "docs/extend.md").read_text("utf-8")


def test_the_relation_head_trains(tmp_path, tiny_options):
    (code,) = code_blocks(TEXT, "python")
    (tmp_path / "my_head.py").write_text(code)
    options = {**tiny_options, "OUTPUT_DIR": str(tmp_path / "run"), "MODEL.EGTR.RELATION.HEAD": "WideRelationHead"}
    words = [str(word) for pair in options.items() for word in pair]
    args = egtr_argument_parser().parse_args(["--extension", str(tmp_path / "my_head.py"), *words])
    assert "sgdet" in train_or_evaluate(args)


def test_rooms_stand_in_the_order_of_the_contract():
    (layers,) = (
        contract["layers"]
        for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract.get("containers") == ["egtr"]
    )
    there = [room for room in layers if not room.startswith("(")]
    assert re.findall(r"^\| `egtr/(\w+)` \|", TEXT, re.MULTILINE) == there
