"""The files on the disk when a process dies, the disk is full or a bit changes."""

import itertools
import os
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from egtr.checkpoint import EGTRCheckpointer, load_checkpoint_file
from egtr.checkpoint.files import (
    list_checkpoints,
    remove_leftovers,
    remove_old_checkpoints,
    replacing,
    verify_checkpoint,
    write_checkpoint,
)
from egtr.structures import EGTRError
from tests.running import largest_file


def checkpoint(value: float, size: int = 10) -> dict:
    return {"model": {"weight": torch.full((size, 100), value)}}


def value_of(path: Path) -> float:
    return load_checkpoint_file(str(path))["model"]["weight"][0, 0].item()


def test_process_that_is_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "model_0000001.pth"
    write_checkpoint(str(path), checkpoint(1.0))
    child = os.fork()
    if child == 0:
        try:
            with replacing(path) as file:
                file.write(b"half a checkpoint")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert value_of(path) == 1.0
    assert (tmp_path / "model_0000001.pth.part").read_bytes() == b"half a checkpoint"
    remove_leftovers(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["model_0000001.pth"]


@pytest.mark.parametrize("room", [0, 5_000, 39_000, 40_500])
def test_full_disk_leaves_the_last_checkpoint(tmp_path, room):
    checkpointer = EGTRCheckpointer(torch.nn.Linear(2, 2), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # 100 x 100 numbers of 4 bytes are 40,000 bytes, and a little more around them.
    checkpointer.model = torch.nn.Linear(100, 100, bias=False)
    message = r"model_0000002\.pth: cannot be written \(File too large\).*Make room.*--resume"
    with largest_file(room), pytest.raises(EGTRError, match=message):
        checkpointer.save("model_0000002", iteration=2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    checkpointer.save("model_0000002", iteration=2)
    assert Path(checkpointer.get_checkpoint_file()).name == "model_0000002.pth"


@pytest.mark.slow
def test_full_file_system_leaves_the_last_checkpoint(tmp_path):
    full = Path("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        full.write_bytes(b"1")
    (tmp_path / "model_0000002.pth.part").symlink_to(full)
    write_checkpoint(str(tmp_path / "model_0000001.pth"), checkpoint(1.0))
    with pytest.raises(EGTRError, match=r"model_0000002\.pth: cannot be written \(No space left on device\)"):
        write_checkpoint(str(tmp_path / "model_0000002.pth"), checkpoint(2.0))
    assert [path.name for path in tmp_path.iterdir()] == ["model_0000001.pth"]


def test_any_changed_byte_of_the_content_is_found(tmp_path):
    path = tmp_path / "model_0000001.pth"
    write_checkpoint(str(path), checkpoint(1.0))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        weights = next(info for info in archive.infolist() if info.file_size == 4000)
    start = content.index(torch.full((1000,), 1.0).numpy().tobytes())
    for position in (start, start + 1999, start + weights.file_size - 1):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        # torch itself does not notice numbers that have changed.
        assert torch.load(path, weights_only=True)["model"]["weight"].shape == (10, 100)
        with pytest.raises(EGTRError, match=r"model_0000001\.pth: the file is damaged"):
            load_checkpoint_file(str(path))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_file_that_is_cut_off_is_found(tmp_path, share):
    path = tmp_path / "model_0000001.pth"
    write_checkpoint(str(path), checkpoint(1.0))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(EGTRError, match="the file is damaged"):
        verify_checkpoint(str(path))


def test_damaged_checkpoints_are_passed_over(tmp_path, caplog):
    checkpointer = EGTRCheckpointer(torch.nn.Linear(2, 2), str(tmp_path))
    assert not checkpointer.has_checkpoint() and checkpointer.get_checkpoint_file() == ""
    for k in range(3):
        checkpointer.save(f"model_000000{k}", iteration=k)
        # Some file systems count time in seconds.
        os.utime(tmp_path / f"model_000000{k}.pth", (k, k))
    checkpointer.save_weights("model_best", score=1.0)
    for name, remaining in [("model_0000002.pth", "model_0000001.pth"), ("model_0000001.pth", "model_0000000.pth")]:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        assert Path(checkpointer.get_checkpoint_file()).name == remaining
        assert f"{name}: the file is damaged" in caplog.text
    (tmp_path / "model_0000000.pth").write_bytes(b"")
    assert checkpointer.has_checkpoint()
    # A run cannot go on with only the best weights.
    with pytest.raises(EGTRError, match=r"none of the 3 checkpoints can be read.*model_0000002\.pth.*--resume"):
        checkpointer.get_checkpoint_file()


@pytest.mark.parametrize("pointer", ["", "model_0000009.pth", "model_0000001.pth\n", None])
def test_broken_pointer_to_the_last_checkpoint(tmp_path, pointer):
    checkpointer = EGTRCheckpointer(torch.nn.Linear(2, 2), str(tmp_path))
    for k in range(2):
        checkpointer.save(f"model_000000{k}", iteration=k)
        os.utime(tmp_path / f"model_000000{k}.pth", (k, k))
    (tmp_path / "last_checkpoint").unlink()
    if pointer is not None:
        (tmp_path / "last_checkpoint").write_text(pointer)
    assert Path(checkpointer.get_checkpoint_file()).name == "model_0000001.pth"


def test_pointer_comes_before_age(tmp_path):
    for k in range(3):
        path = tmp_path / f"model_000000{k}.pth"
        path.touch()
        os.utime(path, (10 - k, 10 - k))
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    assert [Path(path).name[6:13] for path in list_checkpoints(str(tmp_path))] == ["0000001", "0000000", "0000002"]


@pytest.mark.parametrize(
    ("keep", "remaining"),
    # Number 9 is of a longer run before; it is not this run's to delete.
    [(1, [5, 9]), (2, [3, 5, 9]), (7, [1, 2, 3, 5, 9])],
)
def test_old_checkpoints_are_removed(tmp_path, keep, remaining):
    names = [f"model_{k:07d}.pth" for k in (1, 2, 3, 5, 9)]
    others = ["model_final.pth", "model_best.pth", "model_ema.pth"]
    for name in itertools.chain(names, others):
        (tmp_path / name).touch()
    remove_old_checkpoints(str(tmp_path), keep, iteration=5)
    expected = [f"model_{k:07d}.pth" for k in remaining] + others
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_take_the_place_of_nothing(tmp_path, value):
    model = torch.nn.BatchNorm1d(2)
    checkpointer = EGTRCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000001")
    checkpointer.save_weights("model_best")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.weight[1] = value
    for write in (checkpointer.save, checkpointer.save_weights):
        for name in ("model_0000001", "model_best", "model_0000002"):
            with pytest.raises(EGTRError, match=rf"{name}\.pth: is not written, because the parameter weight is not"):
                write(name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    torch.nn.init.ones_(model.weight)
    model.running_mean[0] = float("nan")
    with pytest.raises(EGTRError, match="buffer running_mean"):
        checkpointer.save("model_0000002")
