"""The table that maps the released command lines to ours: every flag is in it, and what it names exists."""

import re
from pathlib import Path

import pytest

from egtr.config import get_egtr_cfg, load_config
from egtr.hub.model_zoo import get_config_file, list_configs
from tests.cli.running import parse

TEXT = (Path(__file__).resolve().parents[2] / "projects/EGTR/README.md").read_text()
SECTION = TEXT.split("## From the released command lines\n")[1].split("\n## ")[0]
# All flags of pretrain_detr.py, train_egtr.py and evaluate_egtr.py.
FLAGS = """
data_path output_path backbone_dirpath architecture auxiliary_loss num_queries ce_loss_coefficient batch_size
accumulate gpus max_epochs max_epochs_finetune lr_backbone lr lr_initialized weight_decay gradient_clip_val debug
resume memo version patience finetune skip_train split eval_batch_size eval_when_train_end num_workers precision
from_scratch pretrained rel_loss_coefficient connectivity_loss_coefficient smoothing rel_sample_negatives
rel_sample_nonmatching rel_sample_negatives_largest rel_sample_nonmatching_largest filter_duplicate_rels
filter_multiple_rels use_freq_bias use_log_softmax eval_single_preds eval_multiple_preds logit_adjustment
logit_adj_tau artifact_path min_size max_size infer_only
""".split()


def rows():
    table = SECTION.split("| flag | here |\n")[1]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:] if line]


def test_every_released_flag_has_a_row():
    found = [flag for row in rows() for flag in re.findall(r"`--(\w+)", row[0])]
    # --skip_train True and others may stand for a whole command as well.
    assert sorted(set(found)) == sorted(FLAGS) and len(found) == len(set(found))


def test_every_key_exists():
    cfg = get_egtr_cfg()
    keys = {key for row in rows() for key in re.findall(r"`((?:[A-Z_]+\d?\.)+[A-Z_]+)\b", row[1])}
    assert len(keys) > 30
    for key in keys:
        node = cfg.MODEL.EGTR if key.split(".")[0] in ("LOSS", "RELATION", "MATCHER") else cfg
        for part in key.split("."):
            assert part in node, key
            node = node[part]


@pytest.mark.parametrize("command", re.findall(r"`egtr ((?:train|evaluate) [^`]*)`", SECTION))
def test_commands_are_understood(command):
    args = parse([word.strip('"') for word in command.split()])
    if args.config_file.startswith("projects"):
        assert Path(args.config_file).name in list_configs()
    load_config(get_config_file("vg150_egtr.yaml"), args.opts)


def test_infer_only_is_measured_at_its_size():
    (line,) = (line for line in SECTION.splitlines() if "--infer_only True" in line)
    args = parse(re.search(r"`egtr (evaluate [^`]*)`", line)[1].split())
    assert (args.latency, args.min_size, args.max_size, args.opts) == (
        True, 600, 1000, ["DATASETS.TEST", "vg150_test"],
    )  # fmt: skip
