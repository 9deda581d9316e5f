"""OUTPUT_DIR at the start of a run: writable, of one run at a time, and not of a former one."""

import subprocess
import sys
from pathlib import Path

import pytest

from egtr.config import egtr_argument_parser
from egtr.engine import train_or_evaluate
from egtr.engine.output_dir import LOCK, claim_output_dir, make_output_dir, release_output_dir
from egtr.structures import ConfigurationError, WriteError
from tests.engine.stub import STUB


@pytest.fixture
def train(tiny_options, tmp_path):
    """A function that trains two steps into a folder."""

    def run(*words: str, folder: Path = tmp_path / "run", **changes):
        options = (
            tiny_options | STUB | {"DATASETS.TEST": (), "SOLVER.MAX_ITER": 2, "OUTPUT_DIR": str(folder)} | changes
        )
        opts = [str(word) for pair in options.items() for word in pair]
        return train_or_evaluate(egtr_argument_parser().parse_args([*words, *opts]))

    return run


@pytest.mark.parametrize("inside", ["", "deeper/still"])
def test_a_folder_that_cannot_be_made(train, tmp_path, inside):
    (tmp_path / "file").touch()
    with pytest.raises(
        WriteError, match=r"OUTPUT_DIR .*file.*cannot be made or written \(.*\)\. Name another folder"
    ):
        train(folder=tmp_path / "file" / inside)


def test_a_folder_without_room(make_cfg, monkeypatch):
    def refuse(**options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(WriteError, match=r"cannot be made or written \(Read-only file system\)"):
        make_output_dir(make_cfg())


def test_a_used_folder(train, tmp_path):
    train()
    folder = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in folder.glob("model_*")}
    with pytest.raises(
        ConfigurationError, match="a former run has left checkpoints there. Add --resume .*--overwrite"
    ):
        train()
    assert {path.name: path.read_bytes() for path in folder.glob("model_*")} == before
    train("--resume", **{"SOLVER.MAX_ITER": 4})
    lines = len((folder / "metrics.json").read_text().splitlines())
    (folder / "model_0000099.pth").touch()
    (folder / "notes.txt").touch()
    train("--overwrite")
    assert not (folder / "model_0000099.pth").exists() and (folder / "notes.txt").exists()
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert len((folder / "metrics.json").read_text().splitlines()) < lines


def test_weights_in_the_folder_are_not_deleted(train, tmp_path):
    train()
    weights = tmp_path / "run/model_final.pth"
    with pytest.raises(ConfigurationError, match="--overwrite: MODEL.WEIGHTS .*model_final.pth is in OUTPUT_DIR"):
        train("--overwrite", **{"MODEL.WEIGHTS": str(weights)})
    assert weights.exists()
    with pytest.raises(ConfigurationError, match="--resume and --overwrite: give one of them"):
        train("--resume", "--overwrite")


def test_one_run_at_a_time(make_cfg, train, tmp_path):
    """The lock goes with its process, however that ends."""
    folder = tmp_path / "run"
    folder.mkdir()
    code = (
        "import fcntl, sys\n"
        f"file = open({str(folder / LOCK)!r}, 'w')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "file.write('process 7 on host'); file.flush()\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        for words in ([], ["--resume"], ["--overwrite"]):
            with pytest.raises(
                ConfigurationError, match=r"another run is writing there \(process 7 on host\)\. Wait"
            ):
                train(*words)
        assert [path.name for path in folder.iterdir()] == [LOCK]
        other.kill()
    train()
    cfg = make_cfg(STUB)
    claim_output_dir(cfg, resume=True, overwrite=False)
    assert "process" in (folder / LOCK).read_text()
    release_output_dir(cfg)
    release_output_dir(cfg)
