"""Windows, targets and masks."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.data.histories import Histories
from fedrec.training.examples import draw_examples, recent_events
from fedrec.training.randomness import user_seeds

CPU = torch.device("cpu")

ragged = st.lists(st.lists(st.integers(0, 50), max_size=12), min_size=1, max_size=6)


def draw(histories: Histories, length: int, stream: tuple[int, int] = (1, 0)):  # type: ignore[no-untyped-def]  # local
    seeds = user_seeds([str(n) for n in range(len(histories))], 0)
    return draw_examples(histories, seeds, stream, length=length, dim=2, dropout=0.5, device=CPU)


@settings(deadline=None)
@given(rows=ragged, length=st.integers(2, 6))
def test_a_window_is_consecutive_events_each_with_the_next_as_target(rows: list[list[int]], length: int) -> None:
    batch = draw(Histories.from_lists(rows), length)
    for row, history, target, mask in zip(rows, batch.history, batch.target, batch.mask, strict=True):
        count = int(mask.sum())
        assert count == max(min(len(row) - 1, length), 0)
        assert mask[:count].all()
        window = [*history[:count].tolist(), *target[count - 1 : count].tolist()] if count else []
        assert history[1:count].tolist() == target[: max(count - 1, 0)].tolist()
        assert not count or any(row[s : s + count + 1] == window for s in range(len(row)))


def test_windows_of_a_long_history_reach_both_its_ends() -> None:
    histories = Histories.from_lists([list(range(30))])
    starts = {int(draw(histories, 4, (number, 0)).history[0, 0]) for number in range(300)}
    assert {0, 25} <= starts


def test_dropout_factors_keep_the_expectation() -> None:
    histories = Histories.from_lists([[1, 2]] * 2000)
    keep = draw(histories, 3).keep
    assert set(np.unique(keep.numpy())) == {0.0, 2.0}
    assert abs(float(keep.mean()) - 1) < 0.03


@settings(deadline=None)
@given(rows=ragged, length=st.integers(2, 6))
def test_recent_events_end_with_the_newest(rows: list[list[int]], length: int) -> None:
    recent = recent_events(Histories.from_lists(rows), length, CPU)
    for row, history, mask, last in zip(rows, recent.history, recent.mask, recent.last, strict=True):
        count = int(mask.sum())
        assert history[:count].tolist() == row[-length:][:count]
        assert count == min(len(row), length)
        assert int(last) == max(count - 1, 0)
