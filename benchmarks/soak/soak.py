"""The soak test: it injects one fault after another, and counts survivals and losses."""

import json
import logging
import random
import shutil
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from detectron2.utils.logger import setup_logger
from tabulate import tabulate

from egtr.checkpoint.files import replacing
from egtr.data.scenes import prepare_scenes
from egtr.structures import EGTRError

from .faults import BEST, KILLS, OTHERS, NotPossible, Victim, stop
from .run import Lost, Reference, Run

logger = logging.getLogger("egtr.soak")


@dataclass
class Tally:
    """The outcome of one kind of fault.

    Attributes:
        injected: how often the fault happened.
        survived: how often the run then continued exactly as the run without faults.
        lost: how often something was lost or differed; the log says what.
    """

    injected: int = 0
    survived: int = 0
    lost: int = 0


class Soak:
    """Makes a run without faults, and then runs with faults until the time is over.

    A run has survived a fault if its next process makes correct steps. The next fault may already hit that process.

    Args:
        output: a folder only for this test, which is emptied first.
        seed: seed of the faults.
    """

    def __init__(self, output: Path, seed: int = 0):
        self.output = output.absolute()
        self.random = random.Random(seed)
        self.finished = 0
        self.tallies = {name: Tally() for name in KILLS | OTHERS}
        # Half of all faults are kills.
        self._kinds = [*OTHERS, *KILLS, *KILLS]
        self._unproven: list[str] = []

    def run(self, minutes: float) -> int:
        """Make a run without faults, then inject faults for ``minutes``; return 0 if nothing was lost, else 1.

        Raises:
            EGTRError: the run without faults has failed.
        """
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)
        setup_logger(str(self.output / "soak.log"), name="egtr.soak")
        prepare_scenes(self.output / "scenes", 0, (24, 6, 6), 1)
        whole = Run(self.output / "without_faults")
        if whole.start(self.output).wait():
            raise EGTRError(f"{whole.printed}: the run without faults has failed")
        reference = Reference(whole)
        logger.info("Without faults: %d iterations", len(reference.losses))
        self._victim = Victim(Run(self.output / "with_faults"), self.output, reference, self.random)
        self._end_time = time.monotonic() + 60 * minutes
        while self._has_time():
            self._inject(self.random.choice(self._kinds))
            self._report()
        if self._unproven:
            self._prove()
            self._report()
        print(self.table())
        return int(any(tally.lost for tally in self.tallies.values()))

    def table(self) -> str:
        """Format the tallies as Markdown: a row for each kind of fault, and their sum."""
        rows = [(name, tally.injected, tally.survived, tally.lost) for name, tally in self.tallies.items()]
        rows.append(("**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
        return tabulate(rows, headers=["fault", "injected", "survived", "data lost"], tablefmt="github")

    def _has_time(self) -> bool:
        return time.monotonic() < self._end_time

    def _inject(self, name: str) -> None:
        """Inject one fault into a run that already has checkpoints."""
        run = self._victim.run
        # A checkpoint to fall back on, and the best weights of the first evaluation.
        while len(run.checkpoints()) < 2 or (name == BEST and not (run.folder / "model_best.pth").exists()):
            if not self._has_time():
                return
            self._prove()
        started, before = time.monotonic(), run.next_iteration()
        try:
            steps = (KILLS | OTHERS)[name](self._victim)
            self._survive(steps)
        except NotPossible as error:
            logger.warning("%s: not possible here (%s)", name, error)
            self._kinds.remove(name)
            return
        except Lost as error:
            self.tallies[name].injected += 1
            self._unproven.append(name)
            self._lose(error)
        else:
            self.tallies[name].injected += 1
            self._unproven.append(name)
        seconds = time.monotonic() - started
        logger.info("%s: %.0f s, from iteration %d to %d", name, seconds, before, run.next_iteration())

    def _prove(self) -> None:
        """Let the run continue without a fault for some steps."""
        steps = self.random.randint(1, 8)
        try:
            self._survive(self._victim.advance(partial(stop, steps=steps)))
        except Lost as error:
            self._lose(error)

    def _survive(self, steps: int) -> None:
        """Count the last faults as survived if the resumed process made correct steps or finished correctly."""
        run = self._victim.run
        finished = run.is_finished()
        if finished:
            run.check_end(self._victim.reference)
            self.finished += 1
            logger.info("Run %d has finished with the results of the run without faults", self.finished)
            self._start_over()
        if steps or finished:
            for name in self._unproven:
                self.tallies[name].survived += 1
            self._unproven = []

    def _lose(self, error: Lost) -> None:
        logger.error("After %s: %s", ", ".join(self._unproven) or "no fault", error)
        for name in self._unproven:
            self.tallies[name].lost += 1
        self._unproven = []
        shutil.copytree(self._victim.run.folder, self.output / f"lost_{time.time():.0f}")
        self._start_over()

    def _start_over(self) -> None:
        shutil.rmtree(self._victim.run.folder, ignore_errors=True)

    def _report(self) -> None:
        """Write the table so far, as Markdown and as JSON."""
        with replacing(self.output / "soak.md") as file:
            file.write(f"{self.table()}\n\nRuns that finished: {self.finished}.\n".encode())
        content = {"faults": {name: asdict(tally) for name, tally in self.tallies.items()}, "finished": self.finished}
        with replacing(self.output / "soak.json") as file:
            file.write(json.dumps(content, indent=1).encode())
