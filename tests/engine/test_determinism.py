"""SEED settles all that is random."""

import pytest

# All that is random: order, size and mirroring of the images, dropout, and the drawing of negatives.
RANDOM = {
    "INPUT.MIN_SIZE_TRAIN": (40, 48, 56),
    "INPUT.RANDOM_FLIP": "horizontal",
    "MODEL.EGTR.TRANSFORMER.DROPOUT": 0.1,
    "MODEL.EGTR.LOSS.NON_SAMPLING": "random",
    "SOLVER.MAX_ITER": 8,
}


@pytest.mark.slow
def test_losses_of_two_processes_are_the_same_to_the_last_bit(make_run, tmp_path):
    losses = []
    for name, seed in (("first", 7), ("second", 7), ("other", 8)):
        run = make_run(RANDOM | {"DATALOADER.NUM_WORKERS": 2, "SEED": seed}, folder=tmp_path / name)
        with run.start() as process:
            assert process.wait(120) == 0, run.printed.read_text()
        losses.append(run.losses)
    assert len(losses[0]) == 8
    assert losses[0] == losses[1] != losses[2]
