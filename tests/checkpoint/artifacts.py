"""Folders as the released code and transformers leave them."""

import json
from pathlib import Path

import torch

EXTRAS = {"epoch": 3, "global_step": 1200, "pytorch-lightning_version": "1.8.6", "loops": {}, "optimizer_states": []}


def write_artifact(folder: Path, config: dict, weights: dict, epoch: int = 3, **extras) -> Path:
    """``config.json`` and a Lightning checkpoint whose names have "model." in front; returns the checkpoint."""
    path = folder / "checkpoints" / f"epoch={epoch:02d}-validation_loss=1.25.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    state_dict = {f"model.{name}": value for name, value in weights.items()}
    torch.save({"state_dict": state_dict, **EXTRAS, **extras}, path)
    return path
