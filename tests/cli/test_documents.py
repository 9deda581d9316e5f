"""Every command that README, docs and projects show is one that `egtr` understands."""

import pytest

from tests.cli.documents import ROOT, find_commands
from tests.cli.running import parse

DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("projects/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_are_understood(document):
    for words in find_commands(document.read_text("utf-8")):
        if not {"--help", "--version"} & {*words}:
            parse([word for word in words if word not in ("[", "]")])


def test_commands_are_found():
    text = """
    egtr demo photo.jpg --output o    # draws
```
$ python tools/convert_dataset.py --from egtr \\
      --to egtr
python tools/quickstart.py
python -m egtr plot run
```
The word egtr demo in a sentence is none.
"""
    assert find_commands(text) == [
        ["demo", "photo.jpg", "--output", "o"],
        ["data", "convert", "--from", "egtr", "--to", "egtr"],
        ["plot", "run"],
    ]
    assert sum(len(find_commands(path.read_text("utf-8"))) for path in DOCUMENTS) > 10
