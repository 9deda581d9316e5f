"""The faults that may happen to a run.

Each fault is a function of a :class:`Victim`. It kills or stops a process of the run, or damages its files. It
returns the number of steps that a process has made meanwhile with the losses of the run without faults. It raises
:class:`~benchmarks.soak.run.Lost` if anything is lost that must be kept.
"""

import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .run import STOP_SECONDS, Lost, Reference, Run, wait_for_losses


class NotPossible(Exception):
    """A fault needs permissions that this process does not have."""


@dataclass
class Victim:
    """A run with checkpoints, and everything that a fault needs.

    Attributes:
        run: the run.
        data: $DETECTRON2_DATASETS.
        reference: the run without faults.
        random: generator that chooses moments and places.
    """

    run: Run
    data: Path
    reference: Reference
    random: random.Random

    def advance(self, hurt, **options: object) -> int:
        """Resume and hurt the run: :meth:`Run.advance`."""
        return self.run.advance(hurt, self.data, self.reference, **options)


def kill(victim: Victim) -> int:
    steps, seconds = victim.random.randint(0, 12), victim.random.uniform(0, 1)

    def hurt(run: Run, process: subprocess.Popen) -> None:
        wait_for_losses(run, process, steps)
        time.sleep(seconds)
        process.kill()

    return victim.advance(hurt)


def kill_while_writing(victim: Victim) -> int:
    writes = victim.random.randint(1, 6)

    def hurt(run: Run, process: subprocess.Popen) -> None:
        seen = 0
        while process.poll() is None and seen < writes:
            part = any(run.folder.glob("*.part"))
            seen += part
            time.sleep(0.0002)
        process.kill()

    return victim.advance(hurt)


def kill_at_touch(victim: Victim) -> int:
    return victim.advance(lambda run, process: None, dies_at=victim.random.randint(1, 40))


def terminate(victim: Victim) -> int:
    return victim.advance(partial(stop, steps=victim.random.randint(1, 8)))


def cut_off(victim: Victim) -> int:
    path = victim.run.checkpoints()[0]
    with path.open("r+b") as file:
        file.truncate(victim.random.randrange(path.stat().st_size))
    return 0


def flip_bit(victim: Victim) -> int:
    _flip(victim.run.checkpoints()[0], victim.random)
    return 0


def flip_bit_of_best(victim: Victim) -> int:
    _flip(victim.run.folder / "model_best.pth", victim.random)
    return 0


def scramble_pointer(victim: Victim) -> int:
    garbage = [b"", b"model_9999999.pth", b"..", victim.random.randbytes(30)]
    (victim.run.folder / "last_checkpoint").write_bytes(victim.random.choice(garbage))
    return 0


def limit_files(victim: Victim) -> int:
    size = victim.run.checkpoints()[0].stat().st_size // 2
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
    return victim.advance(expect_refusal, refuses=True, preexec_fn=limit)


def fill_disk(victim: Victim) -> int:
    """Continue a copy of the run in a file system that has room for half a checkpoint."""
    source, disk = victim.run.folder, victim.run.folder.with_name("disk")
    used = sum(path.stat().st_size + 8192 for path in source.rglob("*"))
    size = used + victim.run.checkpoints()[0].stat().st_size // 2
    disk.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
    try:
        copy = Run(disk / source.name)
        # These files are only about the run, so they must not take up the room.
        copy.printed, copy.losses_file = disk.with_suffix(".printed.txt"), disk.with_suffix(".losses.jsonl")
        shutil.copytree(source, copy.folder)
        copy.advance(expect_refusal, victim.data, victim.reference, refuses=True)
        # Now there is room again.
        _mount("-o", f"remount,size={10 * size}", str(disk))
        copy.advance(stop, victim.data, victim.reference)
        return 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def stop(run: Run, process: subprocess.Popen, steps: int = 1) -> None:
    """Send SIGTERM after ``steps`` steps: exit status 0 in time, and a checkpoint of the last iteration.

    Raises:
        Lost: it did not end in time, or the checkpoint is missing.
    """
    if not wait_for_losses(run, process, steps):
        return
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Lost(f"still there {STOP_SECONDS} s after SIGTERM") from error
    last = run.losses()[-1][0]
    if status == 0 and run.next_iteration() <= last:
        raise Lost(f"SIGTERM: no checkpoint of the last iteration, {last}")


def expect_refusal(run: Run, process: subprocess.Popen) -> None:
    """Wait for one clear error, and check that the earlier checkpoints are still there.

    Raises:
        Lost: the error is unclear, or a checkpoint is gone.
    """
    before = run.next_iteration()
    process.wait()
    if "cannot be written (" not in run.printed.read_text().splitlines()[-1]:
        raise Lost(f"no clear error in {shutil.copy(run.printed, run.printed.with_suffix('.unclear.txt'))}")
    if run.next_iteration() != before:
        raise Lost("the last good checkpoint is gone")


def _flip(path: Path, drawn: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotPossible(getattr(error, "stderr", None) or error) from error


BEST = "bit flipped in the best weights"
KILLS = {
    "kill -9 at a random moment": kill,
    "kill -9 while a checkpoint is written": kill_while_writing,
    "kill -9 at a file operation of a checkpoint": kill_at_touch,
}
OTHERS = {
    "SIGTERM": terminate,
    "last checkpoint cut off": cut_off,
    "bit flipped in the last checkpoint": flip_bit,
    BEST: flip_bit_of_best,
    "last_checkpoint overwritten": scramble_pointer,
    "file size limited": limit_files,
    "disk full": fill_disk,
}
