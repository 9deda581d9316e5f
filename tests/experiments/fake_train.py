"""Stands in for tools/train_net.py: leaves metrics that follow from its arguments, without training anything."""

import json
import os
import sys
import time
from pathlib import Path

words = sys.argv[1:]
start = next(k for k, word in enumerate(words) if word.isupper())
options = dict(zip(words[start::2], words[start + 1 :: 2], strict=True))
folder = Path(options["OUTPUT_DIR"])
with (folder.parents[1] / "calls.txt").open("a") as calls:
    threads = os.environ["OMP_NUM_THREADS"]
    resumes = "resume" if "--resume" in words else "start"
    calls.write(f"{folder.parent.name} {options['SEED']} {resumes} {threads}\n")
behaviour = options["MODEL.WEIGHTS"]
if behaviour == "fails":
    print("a long traceback")
    sys.exit("train_net.py: the learning rate is too bold")
if behaviour == "hangs":
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(60)
recall = float(options["SOLVER.BASE_LR"]) + int(options["SEED"])
lines = [
    {"iteration": 9, "sgdet/R@50": 1.0, "sgdet/mR@50": 1.0},
    {"iteration": 19, "sgdet/R@50": recall, "sgdet/mR@50": 2 * recall},
    {"iteration": 19, "lr": 0.1},
]
with (folder / "metrics.json").open("a") as metrics:
    metrics.writelines(json.dumps(line) + "\n" for line in lines)
# A run that a signal stops saves where it is, and ends as one that is done.
(folder / "last_checkpoint").write_text("model_0000001.pth" if behaviour == "stopped" else "model_final.pth")
