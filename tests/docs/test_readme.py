"""The worked example of the README, and that the files it speaks of are there."""

import re
from pathlib import Path

from egtr.config import egtr_argument_parser
from egtr.engine import train_or_evaluate

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_relation_head_of_the_readme_trains(tmp_path, tiny_options):
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "REGISTRY" in block]
    (tmp_path / "my_head.py").write_text(code)
    options = {**tiny_options, "OUTPUT_DIR": str(tmp_path / "run"), "MODEL.EGTR.RELATION.HEAD": "WideRelationHead"}
    words = [str(word) for pair in options.items() for word in pair]
    args = egtr_argument_parser().parse_args(["--extension", str(tmp_path / "my_head.py"), *words])
    assert "sgdet" in train_or_evaluate(args)


def test_links_and_files_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    named = re.findall(r"(?:configs|tools|projects/EGTR/configs)/[\w/.-]+\.(?:yaml|py)", TEXT)
    assert links and named
    for path in links + named:
        assert (ROOT / path).exists(), path
