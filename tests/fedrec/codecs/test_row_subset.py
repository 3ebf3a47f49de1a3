"""A public draw of rows: whose data it is does not matter, every row has its turn, small tensors stay whole."""

import pytest
import torch

from fedrec.codecs.public import PublicSeed
from fedrec.codecs.row_subset import MANY_ROWS, VALUES, RowSubset

ROWS = MANY_ROWS + 100


def codec(share: float = 0.25, round: int = 1, run: int = 1) -> RowSubset:
    return RowSubset(share=share, seed=PublicSeed(run=run, round=round))


def through(coder: RowSubset, tensor: torch.Tensor) -> torch.Tensor:
    return coder.decode(coder.encode({"w": tensor}), {"w": tensor})["w"]


@pytest.mark.parametrize(("share", "sent"), [(0.25, 89), (1.0, ROWS), (0.001, 1)])
def test_the_share_of_rows_is_sent_at_least_one(share, sent):
    assert len(codec(share).encode({"w": torch.ones(ROWS, 2)})[VALUES]) == 2 * sent


def test_rows_that_are_sent_come_back_as_they_are_and_the_others_as_zeros():
    matrix = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
    chosen = codec().rows("w", ROWS)
    decoded = through(codec(), matrix)
    assert torch.equal(decoded[chosen], matrix[chosen])
    left = torch.ones(ROWS, dtype=torch.bool)
    left[chosen] = False
    assert torch.equal(decoded[left], torch.zeros(ROWS - len(chosen), 3))


def test_which_rows_does_not_depend_on_what_is_in_them():
    full, one = torch.ones(ROWS, 2), torch.zeros(ROWS, 2)
    one[codec().rows("w", ROWS)[0], 0] = 1e9
    assert torch.equal(through(codec(), full)[:, 0] != 0, codec().rows("w", ROWS).bincount(minlength=ROWS) == 1)
    assert int((through(codec(), one) != 0).sum()) == 1


def test_rows_are_distinct_and_change_with_run_round_and_tensor():
    draws = [
        codec().rows("w", ROWS),
        codec(round=2).rows("w", ROWS),
        codec(run=2).rows("w", ROWS),
        codec().rows("v", ROWS),
    ]
    assert all(len(set(rows.tolist())) == 89 for rows in draws)
    assert len({tuple(rows.tolist()) for rows in draws}) == 4


def test_over_many_rounds_every_row_has_its_turn_equally_often():
    turns = torch.stack([codec(round=number).rows("w", ROWS) for number in range(400)]).reshape(-1).bincount()
    assert len(turns) == ROWS
    assert 60 <= int(turns.min()) <= int(turns.max()) <= 140  # 100 each, less or more by chance


@pytest.mark.parametrize("shape", [(MANY_ROWS - 1, 3), (10 * MANY_ROWS,), ()])
def test_small_tensors_and_vectors_are_sent_whole(shape):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(through(codec(), tensor), tensor)


def test_rows_are_those_that_were_once_written_down():
    """Two ends of different versions must agree, or add one row's change to another."""
    assert codec(share=4 / ROWS).rows("w", ROWS).tolist() == [5, 37, 144, 268]
