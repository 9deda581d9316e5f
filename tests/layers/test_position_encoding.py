import math

import pytest
import torch

from egtr.layers import grid_position_table, sine_box_embedding, sine_position_embedding


def test_cells_by_hand():
    """A map of 1 x 2 cells, all valid, width 4: y and x take two numbers each, a sine and a cosine."""
    embedding = sine_position_embedding(torch.ones(1, 1, 2, dtype=torch.bool), 4)[0, 0]
    # y: the only row is the middle, (1 - 0.5) / 1 * 2 pi = pi. x: 0.5 / 2 * 2 pi = pi / 2 and 1.5 / 2 * 2 pi.
    for cell, x in zip(embedding, (math.pi / 2, 3 * math.pi / 2), strict=True):
        wanted = torch.tensor([math.sin(math.pi), math.cos(math.pi), math.sin(x), math.cos(x)])
        torch.testing.assert_close(cell, wanted, atol=1e-4, rtol=0)


def test_wavelengths_grow_to_the_temperature():
    """Numbers 2k and 2k + 1 of an axis share the wavelength 10000^(2k / width)."""
    embedding = sine_position_embedding(torch.ones(1, 4, 4, dtype=torch.bool), 16)[0, 1, 0]
    y = 1.5 / 4 * 2 * math.pi
    for k in range(4):
        angle = y / 10000 ** (2 * k / 8)
        torch.testing.assert_close(
            embedding[2 * k : 2 * k + 2], torch.tensor([math.sin(angle), math.cos(angle)]), atol=1e-5, rtol=0
        )


def test_padding_does_not_stretch_positions():
    alone = torch.ones(1, 3, 4, dtype=torch.bool)
    padded = torch.zeros(1, 5, 6, dtype=torch.bool)
    padded[:, :3, :4] = True
    torch.testing.assert_close(sine_position_embedding(padded, 8)[:, :3, :4], sine_position_embedding(alone, 8))


def test_box_embedding_takes_a_quarter_for_each_coordinate():
    boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0]])
    embedding = sine_box_embedding(boxes, 8)
    angles = boxes[0] * 2 * math.pi
    torch.testing.assert_close(embedding[0].view(4, 2), torch.stack([angles.sin(), angles.cos()], dim=-1))


@pytest.mark.parametrize(
    ("column_major", "numbers"),
    [
        (False, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]),
        (True, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]),
    ],
    ids=["row_major", "column_major"],
)
def test_table_of_a_grid_by_hand(column_major, numbers):
    """A map of 2 lines and 3 columns: rows count to 3 and start again, or to 2; width 8 has two wavelengths."""
    wanted = [
        [f(number * omega) for number in pair for f in (math.sin, math.cos) for omega in (1.0, 0.01)]
        for pair in numbers
    ]
    torch.testing.assert_close(grid_position_table(2, 3, 8, column_major, "cpu"), torch.tensor(wanted))


def test_both_orders_agree_on_square_maps():
    assert torch.equal(grid_position_table(3, 3, 8, True, "cpu"), grid_position_table(3, 3, 8, False, "cpu"))
