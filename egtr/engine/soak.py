"""A soak test: a small run is killed, damaged and resumed for a long time, and must lose nothing."""

import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from detectron2.utils.logger import setup_logger
from tabulate import tabulate

from egtr.data.datasets.scenes import prepare_scenes
from egtr.structures import EGTRError

from .checkpoint_files import list_checkpoints, replacing, verify_checkpoint

logger = logging.getLogger("egtr.soak")

ITERATIONS = 60
OPTIONS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.EGTR.NUM_QUERIES": 10,
    "MODEL.EGTR.BACKBONE.CHANNELS": [8, 8, 16, 16],
    "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM": 32,
    "MODEL.EGTR.TRANSFORMER.ENC_LAYERS": 1,
    "MODEL.EGTR.TRANSFORMER.DEC_LAYERS": 2,
    "MODEL.EGTR.TRANSFORMER.ENC_FFN_DIM": 32,
    "MODEL.EGTR.TRANSFORMER.DEC_FFN_DIM": 32,
    "MODEL.EGTR.TRANSFORMER.DROPOUT": 0.1,
    "INPUT.MIN_SIZE_TRAIN": (48, 64),
    "INPUT.MAX_SIZE_TRAIN": 96,
    "INPUT.MIN_SIZE_TEST": 64,
    "INPUT.MAX_SIZE_TEST": 96,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.AMP.ENABLED": False,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.ACCUMULATE_STEPS": 2,
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
    "SOLVER.WARMUP_ITERS": 10,
    "SOLVER.MAX_ITER": ITERATIONS,
    "SOLVER.CHECKPOINT_PERIOD": 5,
    "SOLVER.KEEP_CHECKPOINTS": 3,
    "SOLVER.EMA_DECAY": 0.9,
    "TEST.EVAL_PERIOD": 15,
    "TEST.EARLY_STOPPING_PATIENCE": 100,
}
# What a resumed run may differ by from the run without faults, relative to the loss.
TOLERANCE = 1e-5
STOP_SECONDS = 30


@dataclass
class Tally:
    """What became of one kind of fault.

    Attributes:
        injected: how often it was.
        survived: how often the run went on afterwards as the run without faults does.
        lost: how often something was lost or differed; the log says what.
    """

    injected: int = 0
    survived: int = 0
    lost: int = 0


class Loss(Exception):
    """Something that a fault must not do."""


class Soak:
    """A run without faults, and then runs with faults until the time is over.

    Args:
        output: a folder of its own, made anew.
        seed: of the faults.
    """

    def __init__(self, output: Path, seed: int = 0):
        self.output = output.absolute()
        self.random = random.Random(seed)
        self.finished = 0
        self.expected: dict[int, float] = {}
        self.results: dict[str, float] = {}
        self.folder = self.output / "without_faults"
        kills = {
            "kill -9 at a random moment": self.kill,
            "kill -9 while a checkpoint is being written": self.kill_in_checkpoint,
            "kill -9 at a file operation of a checkpoint": self.kill_at_touch,
        }
        others = {
            "SIGTERM": self.terminate,
            "last checkpoint cut off": self.truncate,
            "bit flipped in the last checkpoint": self.flip,
            "bit flipped in the best weights": self.flip_best,
            "last_checkpoint overwritten": self.scramble_pointer,
            "files limited in size": self.limit_files,
            "disk full": self.fill_disk,
        }
        self.faults: dict[str, Callable[[], None]] = kills | others
        # Half of all faults are kills.
        self._drawn = list(others) + list(kills) * 2
        self.tallies = {name: Tally() for name in self.faults}

    def run(self, minutes: float) -> int:
        """Go on for so many minutes; returns the exit status: 0 if nothing was lost."""
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)
        setup_logger(str(self.output / "soak.log"), name="egtr.soak")
        end = time.monotonic() + 60 * minutes
        prepare_scenes(self.output / "scenes", 0, (24, 6, 6), 1)
        if self.start().wait():
            raise EGTRError(f"{self.printed}: the run without faults has failed")
        self.expected, self.results = dict(self.losses()), self.last_results()
        logger.info("Without faults: %d iterations, results %s", len(self.expected), self.results)
        self.folder = self.output / "with_faults"
        while time.monotonic() < end:
            self.inject(self.random.choice(self._drawn))
            self.report()
        print(self.table())
        return int(any(tally.survived < tally.injected for tally in self.tallies.values()))

    def inject(self, name: str) -> None:
        """One fault, and a resumed run that has to go on as if nothing had happened."""
        tally = self.tallies[name]
        logger.info("%s, iteration %d", name, self.next_iteration())
        try:
            # There must be something to hurt.
            while len(list_checkpoints(str(self.folder))) < 2:
                self.advance(self.stop_after)
            tally.injected += 1
            self.faults[name]()
            self.advance(self.stop_after)
        except _NotPossible as error:
            logger.warning("%s: not possible here (%s)", name, error)
            tally.injected -= 1
            self._drawn.remove(name)
        except Loss as error:
            tally.lost += 1
            logger.error("%s: %s", name, error)
            shutil.copytree(self.folder, self.output / f"lost_{sum(t.lost for t in self.tallies.values())}")
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            tally.survived += 1

    # What may happen to a run.

    def kill(self) -> None:
        self.advance(self.kill_after)

    def kill_in_checkpoint(self) -> None:
        def hurt(process: subprocess.Popen) -> None:
            while process.poll() is None and not list(self.folder.glob("*.part")):
                time.sleep(0.0005)
            process.kill()

        self.advance(hurt)

    def kill_at_touch(self) -> None:
        self.advance(lambda process: None, dies_at=self.random.randint(1, 40))

    def terminate(self) -> None:
        self.advance(self.stop_after)

    def truncate(self) -> None:
        path = Path(list_checkpoints(str(self.folder))[0])
        with path.open("r+b") as file:
            file.truncate(self.random.randrange(path.stat().st_size))

    def flip(self) -> None:
        self.flip_bit(Path(list_checkpoints(str(self.folder))[0]))

    def flip_best(self) -> None:
        if (self.folder / "model_best.pth").exists():
            self.flip_bit(self.folder / "model_best.pth")

    def flip_bit(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        path.write_bytes(content)

    def scramble_pointer(self) -> None:
        garbage = [b"", b"model_9999999.pth", b"..", self.random.randbytes(30)]
        (self.folder / "last_checkpoint").write_bytes(self.random.choice(garbage))

    def limit_files(self) -> None:
        size = Path(list_checkpoints(str(self.folder))[0]).stat().st_size // 2
        self.advance(self.expect_refusal, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))

    def fill_disk(self) -> None:
        """A copy of the run goes on in a file system that has room for half a checkpoint."""
        folder, disk = self.folder, self.output / "disk"
        used = sum(path.stat().st_size + 8192 for path in folder.rglob("*"))
        size = used + Path(list_checkpoints(str(folder))[0]).stat().st_size // 2
        disk.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
        try:
            self.folder = disk / folder.name
            shutil.copytree(folder, self.folder)
            self.advance(self.expect_refusal)
            # Somebody makes room.
            _mount("-o", f"remount,size={10 * size}", str(disk))
            self.advance(self.stop_after)
        finally:
            self.folder = folder
            subprocess.run(["umount", str(disk)], check=True)

    # What is done to a process. All return when it has ended.

    def kill_after(self, process: subprocess.Popen) -> None:
        self.wait_for_losses(process, self.random.randint(0, 12))
        time.sleep(self.random.uniform(0, 1))
        process.kill()

    def stop_after(self, process: subprocess.Popen) -> None:
        """SIGTERM after one loss or more: a checkpoint of the last iteration and exit status 0 in time."""
        if not self.wait_for_losses(process, self.random.randint(1, 8)):
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Loss(f"still there {STOP_SECONDS} s after SIGTERM") from error
        if status:
            raise Loss(f"exit status {status} after SIGTERM, see {self.printed}")
        if self.next_iteration() != self.losses()[-1][0] + 1:
            raise Loss("no checkpoint of the last iteration after SIGTERM")

    def expect_refusal(self, process: subprocess.Popen) -> None:
        """One clear error, and the checkpoints that were there before."""
        before = self.next_iteration()
        if process.wait() != 1 or "cannot be written (" not in self.printed.read_text():
            raise Loss(f"exit status {process.returncode} without a clear error, see {self.printed}")
        if self.next_iteration() != before:
            raise Loss("the last good checkpoint is gone")

    def wait_for_losses(self, process: subprocess.Popen, number: int) -> bool:
        """Wait until the process has written so many; returns whether it is still there."""
        number += len(self.losses())
        while process.poll() is None and len(self.losses()) < number:
            time.sleep(0.02)
        return process.poll() is None

    # Running and checking.

    def advance(self, hurt: Callable[[subprocess.Popen], None], dies_at: int = 0, **options: object) -> None:
        """Resume the run, let ``hurt`` do something to it, and compare what it did with the run without faults."""
        before, first = len(self.losses()), self.next_iteration()
        process = self.start(dies_at, **options)
        try:
            hurt(process)
        finally:
            if process.poll() is None and hurt == self.stop_after:
                process.kill()
            process.wait()
        steps = self.losses()[before:]
        if steps and [iteration for iteration, _ in steps] != list(range(first, first + len(steps))):
            raise Loss(f"went on with iteration {steps[0][0]} instead of {first}")
        for iteration, loss in steps:
            expected = self.expected[iteration]
            if not abs(loss - expected) <= TOLERANCE * abs(expected):
                raise Loss(f"loss {loss} instead of {expected} in iteration {iteration}, after resuming at {first}")
        if process.returncode not in (0, 1, -signal.SIGKILL):
            raise Loss(f"exit status {process.returncode}, see {self.printed}")
        if process.returncode == 1 and hurt != self.expect_refusal:
            raise Loss(f"failed, see {self.printed}")
        if process.returncode == 0 and (self.folder / "model_ema.pth").exists():
            self.finish()

    def finish(self) -> None:
        """Compare the results of a run that has come to its end, and begin another one."""
        results = self.last_results()
        if json.dumps(results) != json.dumps(self.results):
            raise Loss(f"results {results} instead of {self.results}")
        self.finished += 1
        logger.info("Run %d has come to its end with the results of the run without faults", self.finished)
        shutil.rmtree(self.folder)

    def start(self, dies_at: int = 0, **options: object) -> subprocess.Popen:
        words = [str(word) for pair in (OPTIONS | {"OUTPUT_DIR": str(self.folder)}).items() for word in pair]
        command = [sys.executable, "-m", "egtr.engine.soak_run", str(self.losses_file), str(dies_at), "--resume"]
        command += ["--config-file", "egtr://configs/scenes/Base-Scenes.yaml", *words]
        environment = os.environ | {"DETECTRON2_DATASETS": str(self.output)}
        with self.printed.open("w") as printed:
            return subprocess.Popen(command, stdout=printed, stderr=printed, env=environment, **options)

    @property
    def printed(self) -> Path:
        """What the last process printed."""
        return self.output / "printed.txt"

    @property
    def losses_file(self) -> Path:
        return self.output / f"losses_{self.folder.parent.name}_{self.folder.name}.jsonl"

    def losses(self) -> list[tuple[int, float]]:
        """(iteration, loss) of all steps that were made in this folder; a last line that is cut off is left out."""
        if not self.losses_file.exists():
            return []
        lines = self.losses_file.read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(record["iteration"], record["loss"]) for record in records]

    def next_iteration(self) -> int:
        """Where a resumed run has to begin: behind the newest checkpoint that is not damaged."""
        for path in list_checkpoints(str(self.folder)):
            try:
                verify_checkpoint(path)
            except EGTRError:
                continue
            return torch.load(path, map_location="cpu", weights_only=True)["iteration"] + 1
        return 0

    def last_results(self) -> dict[str, float]:
        """Metrics of the last evaluation, from metrics.json, of which every line must be whole and say one thing."""
        said: dict[tuple[int, str], object] = {}
        results: dict[str, float] = {}
        for line in (self.folder / "metrics.json").read_text().splitlines():
            record = json.loads(line)
            for key, value in record.items():
                # Times are not the same twice.
                if "time" in key or "eta" in key:
                    continue
                before = said.setdefault((record["iteration"], key), value)
                if json.dumps(before) != json.dumps(value):
                    raise Loss(f"metrics.json: {key} of iteration {record['iteration']} is {before} and {value}")
            results = {key: value for key, value in record.items() if "/" in key} or results
        return results

    def table(self) -> str:
        """Markdown."""
        rows = [(name, tally.injected, tally.survived, tally.lost) for name, tally in self.tallies.items()]
        rows.append(("**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
        return tabulate(rows, headers=["fault", "injected", "survived", "data lost"], tablefmt="github")

    def report(self) -> None:
        """Write the table so far, as Markdown and as JSON."""
        with replacing(self.output / "soak.md") as file:
            file.write(f"{self.table()}\n\nRuns that came to their end: {self.finished}.\n".encode())
        content = {"faults": {name: asdict(tally) for name, tally in self.tallies.items()}, "finished": self.finished}
        with replacing(self.output / "soak.json") as file:
            file.write(json.dumps(content, indent=1).encode())


class _NotPossible(Exception):
    """A fault needs rights that this process has not."""


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _NotPossible(getattr(error, "stderr", None) or error) from error
