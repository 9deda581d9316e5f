"""The run that gets the faults: its processes, and its comparison with the run without faults."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from egtr.checkpoint.files import list_checkpoints, verify_checkpoint
from egtr.structures import EGTRError

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
    "SOLVER.MAX_ITER": 60,
    "SOLVER.CHECKPOINT_PERIOD": 5,
    "SOLVER.KEEP_CHECKPOINTS": 3,
    "SOLVER.EMA_DECAY": 0.9,
    "TEST.EVAL_PERIOD": 20,
    "TEST.EARLY_STOPPING_PATIENCE": 100,
    "TEST.SCENE_GRAPH.VIS_IMAGES": 0,
}
# The largest difference of a resumed run from the run without faults: relative to the loss, or to the largest value
# of a weight.
TOLERANCE = 1e-5
STOP_SECONDS = 30


class Lost(Exception):
    """A fault lost or changed something that it must not."""


class Reference:
    """The results of the run without faults.

    Attributes:
        losses: by iteration.
        weights: of the last model, by name.
        results: metrics of the last evaluation.
    """

    def __init__(self, run: "Run"):
        self.losses = dict(run.losses())
        self.weights = run.final_weights()
        self.results = run.last_results()


class Run:
    """A training run in a folder, to be interrupted by faults.

    Args:
        folder: OUTPUT_DIR. Beside it are the data (``scenes``), the losses and the output of the last process.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.printed = folder.with_suffix(".printed.txt")
        self.losses_file = folder.with_suffix(".losses.jsonl")

    def start(self, data: Path, dies_at: int = 0, **options: object) -> subprocess.Popen:
        """Start or resume it.

        Args:
            data: $DETECTRON2_DATASETS.
            dies_at: see :mod:`benchmarks.soak.child`.
            options: options of ``subprocess.Popen``.
        """
        words = [str(word) for pair in (OPTIONS | {"OUTPUT_DIR": str(self.folder)}).items() for word in pair]
        command = [sys.executable, "-m", "benchmarks.soak.child", str(self.losses_file), str(dies_at), "--resume"]
        command += ["--config-file", "egtr://configs/scenes/Base-Scenes.yaml", *words]
        environment = os.environ | {"DETECTRON2_DATASETS": str(data)}
        with self.printed.open("w") as printed:
            return subprocess.Popen(command, stdout=printed, stderr=printed, env=environment, **options)

    def losses(self) -> list[tuple[int, float]]:
        """Read (iteration, loss) of all steps of all processes; a last line that is cut off is left out."""
        if not self.losses_file.exists():
            return []
        lines = self.losses_file.read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(record["iteration"], record["loss"]) for record in records]

    def checkpoints(self) -> list[Path]:
        """List the checkpoints, the newest first."""
        return [Path(path) for path in list_checkpoints(str(self.folder))]

    def next_iteration(self) -> int:
        """Find the iteration in which a resumed run has to begin: after the newest checkpoint that is not damaged."""
        for path in self.checkpoints():
            try:
                verify_checkpoint(str(path))
            except EGTRError:
                continue
            return torch.load(path, map_location="cpu", weights_only=True)["iteration"] + 1
        return 0

    def is_finished(self) -> bool:
        """Tell whether the run has finished, evaluation included."""
        return (self.folder / "model_ema.pth").exists()

    def final_weights(self) -> dict[str, torch.Tensor]:
        """Load trained and averaged weights, by name."""
        files = {name: self.folder / f"model_{name}.pth" for name in ("final", "ema")}
        loaded = {name: torch.load(path, weights_only=True)["model"] for name, path in files.items()}
        return {f"{name}.{key}": value.float() for name in files for key, value in loaded[name].items()}

    def last_results(self) -> dict[str, float]:
        """Read the metrics of the last evaluation from metrics.json; check that lines are complete and agree.

        Raises:
            Lost: two lines contradict each other.
        """
        said: dict[tuple[int, str], object] = {}
        results: dict[str, float] = {}
        for line in (self.folder / "metrics.json").read_text().splitlines():
            record = json.loads(line)
            for key, value in record.items():
                before = said.setdefault((record["iteration"], key), value)
                # Times differ from run to run.
                if "time" not in key and "eta" not in key and json.dumps(before) != json.dumps(value):
                    raise Lost(f"metrics.json: {key} of iteration {record['iteration']} is {before} and {value}")
            results = {key: value for key, value in record.items() if "/" in key} or results
        return results

    def advance(
        self,
        hurt: Callable[["Run", subprocess.Popen], None],
        data: Path,
        reference: Reference,
        *,
        refuses: bool = False,
        **options: object,
    ) -> int:
        """Resume the run, let ``hurt`` disturb its process, and compare it with the run without faults.

        Args:
            hurt: kills or disturbs the process; returns when the process has ended, or is about to end.
            refuses: True if the process has to end with an error.
            options: of :meth:`start`.

        Returns:
            The number of steps that were compared.

        Raises:
            Lost: it began in another iteration, differs, or failed.
        """
        before, first = len(self.losses()), self.next_iteration()
        process = self.start(data, **options)
        try:
            hurt(self, process)
            process.wait()
        finally:
            process.kill()
            process.wait()
        status = process.returncode
        if status not in ((1,) if refuses else (0, -signal.SIGKILL)):
            kept = self.printed.with_name(f"failed_{time.time():.0f}.txt")
            shutil.copy(self.printed, kept)
            raise Lost(f"exit status {status}, see {kept}")
        steps = self.losses()[before:]
        if [iteration for iteration, _ in steps] != list(range(first, first + len(steps))):
            raise Lost(f"went on with iteration {steps[0][0]} instead of {first}")
        for iteration, loss in steps:
            expected = reference.losses[iteration]
            if not abs(loss - expected) <= TOLERANCE * abs(expected):
                raise Lost(f"loss {loss} instead of {expected} in iteration {iteration}, resumed at {first}")
        return len(steps)

    def check_end(self, reference: Reference) -> None:
        """Compare the results and weights of a finished run.

        Raises:
            Lost: results or weights differ.
        """
        results, weights = self.last_results(), self.final_weights()
        if json.dumps(results) != json.dumps(reference.results):
            raise Lost(f"results {results} instead of {reference.results}")
        for name, expected in reference.weights.items():
            if not torch.allclose(weights[name], expected, rtol=0, atol=TOLERANCE * float(expected.abs().max())):
                raise Lost(f"{name} differs at the end")


def wait_for_losses(run: Run, process: subprocess.Popen, number: int) -> bool:
    """Wait until a process has written ``number`` losses; return whether it still runs."""
    number += len(run.losses())
    while process.poll() is None and len(run.losses()) < number:
        time.sleep(0.02)
    return process.poll() is None
