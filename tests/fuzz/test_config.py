"""Configurations: whatever file and command line say, there is an EGTRError or a configuration of known keys."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import strategies as st

from egtr.config import load_config
from egtr.config.defaults import get_egtr_cfg
from egtr.hub.model_zoo import get_config_file, list_configs
from egtr.structures import EGTRError
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.mutation import ODD_VALUES, mutated_bytes, mutated_json

BASE, CHILD = "base.yaml", "child.yaml"
TAGS = [
    "!!python/object/apply:os.mkdir [ran]",
    "!!python/name:os.system ''",
    "!!binary '////'",
    "!!set {a, b}",
    "!!timestamp 2001-12-14",
    "!own 3",
    "*nowhere",
    "&a [*a]",
]


class Files(NamedTuple):
    contents: dict[str, bytes]
    opts: list[str]


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


KEYS = list(_leaves(get_egtr_cfg()))
ORIGINALS = [yaml.safe_load(Path(get_config_file(name)).read_text()) for name in list_configs()]


@st.composite
def _mutated_file(draw, base: Any = None) -> bytes:
    content = dict(draw(st.sampled_from(ORIGINALS)))
    content.pop("_BASE_", None)
    if draw(st.booleans()):
        row = ["fuzz_rows", "coco_sg", "train.json", "images", {"flip_predicate_pairs": [["a", "b"]]}]
        content["DATASETS"] = {"REGISTER": [row], **content.get("DATASETS", {})}
    if base is not None:
        content["_BASE_"] = base
    try:
        text = yaml.safe_dump(draw(mutated_json(content)), allow_unicode=True)
        data = text.encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError):  # numbers of 400 digits
        data = b"SOLVER: {}"
    if not draw(st.integers(0, 3)):
        data = draw(mutated_bytes(data))
    if not draw(st.integers(0, 7)):
        data += f"\nMODEL: {draw(st.sampled_from(TAGS))}\n".encode()
    return data


_words = st.sampled_from([str(value) for value in ODD_VALUES if value not in ("x" * 5000,)]) | st.text(max_size=6)
_keys = st.sampled_from(KEYS) | st.sampled_from(["", ".", "MODEL", "MODEL.", "SOLVER.BASE_LR.X", "_BASE_"]) | _words
_bases = st.sampled_from([BASE, BASE, [BASE], [BASE, BASE], CHILD, "none.yaml", ".", "", "~", 3, [3], {"a": 1}, [[]]])


@st.composite
def _mutated_files(draw) -> Files:
    contents = {CHILD: draw(_mutated_file(draw(st.none() | _bases))), BASE: draw(_mutated_file())}
    opts = draw(st.lists(st.tuples(_keys, _words), max_size=2))
    words = [word for pair in opts for word in pair]
    return Files(contents, words[1:] if not draw(st.integers(0, 9)) else words)


def _check_loading(files: Files, known: Mapping[str, Any]) -> None:
    folder = Path(tempfile.mkdtemp())
    before = set(DatasetCatalog.list())
    try:
        for name, content in files.contents.items():
            (folder / name).write_bytes(content)
        cfg = load_config(str(folder / CHILD), files.opts)
    except EGTRError as error:
        assert "\n" not in str(error).strip()
        return
    finally:
        shutil.rmtree(folder)
        for name in set(DatasetCatalog.list()) - before:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    assert _sections(cfg) == known
    # The config.yaml of a run can be read again.
    dumped = yaml.safe_load(cfg.dump())
    assert repr(yaml.safe_load(CfgNode(dumped).dump())) == repr(dumped)


def _sections(cfg: Any) -> Any:
    return {key: _sections(value) for key, value in cfg.items()} if isinstance(cfg, CfgNode) else None


def test_configurations(monkeypatch, tmp_path):
    # Code that ran would leave its folder here.
    monkeypatch.chdir(tmp_path)
    known = _sections(get_egtr_cfg())
    fuzz(lambda files: _check_loading(files, known), _mutated_files(), examples=20)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tag", TAGS)
def test_tags_are_refused_by_name(tmp_path, tag):
    (tmp_path / "tags.yaml").write_text(f"MODEL: {tag}")
    with pytest.raises(EGTRError, match=r"tags\.yaml"):
        load_config(str(tmp_path / "tags.yaml"))
