"""Every way by which a file reaches the program: none of them runs code that is in it."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import MetadataCatalog
from torch import nn

from egtr.checkpoint import EGTRCheckpointer
from egtr.config import load_config
from egtr.config.yaml_file import read_config_file
from egtr.data import statistics
from egtr.data.statistics import load_triplet_counts
from egtr.evaluation import read_meta
from egtr.experiments.sweep.definition import load_sweep
from egtr.hub.model_zoo import get_config_file
from egtr.structures import EGTRError


class Malicious:
    """Reading its pickle makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trace(tmp_path):
    """The folder that must not be there afterwards; that it would be, unsafe reading shows."""
    pickle.loads(pickle.dumps(Malicious(tmp_path / "trace")))
    (tmp_path / "trace").rmdir()
    yield tmp_path / "trace"
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin", ".pkl", ".pyth", ".safetensors", ""])
@pytest.mark.parametrize("written", ["torch", "torch, before 1.6", "pickle"])
def test_model_weights(tmp_path, trace, suffix, written):
    path = tmp_path / f"weights{suffix}"
    content = {"model": {"weight": torch.zeros(2, 2)}, "model_state": {}, "extra": Malicious(trace)}
    if written == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=written == "torch")
    for name in (str(path), f"{path}?matching_heuristics=True"):
        with pytest.raises(EGTRError, match=rf"weights{suffix}"):
            EGTRCheckpointer(nn.Linear(2, 2)).load(name)


@pytest.mark.parametrize("written", ["torch", "pickle"])
def test_resuming(tmp_path, trace, written, caplog):
    """The newest checkpoint is malicious: the one before it is taken; without one, there is one error."""
    EGTRCheckpointer(nn.Linear(2, 2), str(tmp_path)).save("model_0000001")
    bad = tmp_path / "model_0000002.pth"
    content = {"model": Malicious(trace), "iteration": 2}
    bad.write_bytes(pickle.dumps(content, protocol=2)) if written == "pickle" else torch.save(content, bad)
    (tmp_path / "last_checkpoint").write_text(bad.name)
    checkpointer = EGTRCheckpointer(nn.Linear(2, 2), str(tmp_path))
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    assert "model_0000002.pth" in caplog.text
    (tmp_path / "model_0000001.pth").unlink()
    with pytest.raises(EGTRError, match="none of the 1 checkpoints can be read"):
        checkpointer.get_checkpoint_file()


def write_npz(path: Path, **arrays) -> None:
    np.savez(path, **{name: np.array(value, dtype=object) for name, value in arrays.items()})


def test_prediction_file(tmp_path, trace):
    write_npz(tmp_path / "p.npz", meta=Malicious(trace))
    with pytest.raises(EGTRError, match=r"p\.npz: meta cannot be read"):
        read_meta(tmp_path / "p.npz")
    # numpy takes any other file for a pickle.
    (tmp_path / "q.npz").write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(EGTRError, match=r"q\.npz: is no \.npz file"):
        read_meta(tmp_path / "q.npz")


def test_a_member_of_absurd_size(tmp_path):
    """2 GB of zeros that fit into 2 MB: the size that the archive declares is looked at before they are unpacked."""
    with zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("meta.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<U1", "fortran_order": False, "shape": (2**29,)})
        # Declared and not written, since packing them takes ten seconds.
        archive.getinfo("meta.npy").file_size = 2**31 + 2**24
    with pytest.raises(EGTRError, match=r"p\.npz: meta cannot be read \(it would take 2,\d{3},\d{3},\d{3} bytes"):
        read_meta(tmp_path / "p.npz")


def test_cache_of_statistics(make_tiny_dataset, trace):
    """It is made again, as any damaged one."""
    # Other tests may have counted the same annotations in this process, which then wrote no cache here.
    statistics._counted_before.clear()
    name = make_tiny_dataset().train
    counts = load_triplet_counts(name)
    cache = Path(MetadataCatalog.get(name).annotation_files[0]).with_suffix(".statistics.npz")
    assert cache.is_file()
    write_npz(cache, key=Malicious(trace))
    statistics._counted_before.clear()
    assert load_triplet_counts(name).counts.tolist() == counts.counts.tolist()


ATTACK = "!!python/object/apply:os.mkdir [{}]"


@pytest.mark.parametrize("way", ["file", "_BASE_", "_BASE_ of _BASE_", "list of _BASE_", "sweep", "sweep's CONFIG"])
def test_configurations(tmp_path, trace, way):
    text = f"SEED: {ATTACK.format(trace)}"
    yaml.unsafe_load(text)
    trace.rmdir()
    attack, middle, child = (tmp_path / f"{name}.yaml" for name in ("attack", "middle", "child"))
    attack.write_text(text)
    middle.write_text("_BASE_: attack.yaml")
    sound = get_config_file("Base-EGTR.yaml")
    base = {"_BASE_": "attack.yaml", "_BASE_ of _BASE_": "middle.yaml", "list of _BASE_": f"[{sound}, attack.yaml]"}
    if way in base:
        child.write_text(f"_BASE_: {base[way]}")
    elif way == "sweep's CONFIG":
        child.write_text(f"CONFIG: {attack}\nOUTPUT_DIR: out\nSETTINGS: {{a: {{}}}}\nSEEDS: [1]")
    read, path = (load_sweep, attack) if way == "sweep" else (load_config, attack)
    read, path = (load_sweep if way == "sweep's CONFIG" else read), (child if child.exists() else path)
    with pytest.raises(EGTRError, match=r"attack\.yaml.*Python object"):
        read(str(path))
    with pytest.raises(EGTRError, match="there is no key SEED.X|SEED"):
        load_config(opts=["SEED", text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x, x]\nb: &b [*a, *a, *a, *a]\n" + "".join(
            f"{chr(98 + k)}: &{chr(98 + k)} [{', '.join([f'*{chr(97 + k)}'] * 9)}]\n" for k in range(1, 9)
        ), r"bomb\.yaml: stands for more than 100,000 values"),
        ("a: &a [*a]", r"bomb\.yaml: stands for more than"),
        ("_BASE_: bomb.yaml", r"bomb\.yaml.*its own base"),
        ("a: " + "[" * 1000, r"bomb\.yaml: not a YAML file"),
        ("a: 2024-99-99", r"bomb\.yaml: not a YAML file.*month"),
    ],
)  # fmt: skip
def test_files_that_grow_when_they_are_read(tmp_path, text, message):
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(EGTRError, match=message):
        read_config_file(str(tmp_path / "bomb.yaml"))
