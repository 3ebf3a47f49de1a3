"""The rows that a user touches: each once, and codes that point at the same items as before."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fedrec.training.examples import Examples
from fedrec.training.touched import touched_rows

ITEMS, LENGTH, DRAWN = 9, 3, 2


@st.composite
def batches(draw: st.DrawFn) -> list[Examples]:
    users = draw(st.integers(1, 4))

    def codes(width: int) -> torch.Tensor:
        return torch.tensor(
            draw(
                st.lists(
                    st.lists(st.integers(0, ITEMS - 1), min_size=width, max_size=width), min_size=users, max_size=users
                )
            )
        )

    def one() -> Examples:
        lengths = torch.tensor(draw(st.lists(st.integers(0, LENGTH), min_size=users, max_size=users)))
        return Examples(
            history=codes(LENGTH),
            target=codes(LENGTH),
            mask=(torch.arange(LENGTH) < lengths[:, None]).float(),
            keep=torch.ones(users, 4, 1),
            negatives=codes(DRAWN),
        )

    return [one() for _ in range(draw(st.integers(1, 3)))]


@given(batches(), st.booleans())
def test_codes_within_the_rows_are_the_items_they_were(steps: list[Examples], history: bool) -> None:
    touched = touched_rows(steps, ITEMS, history=history)
    for before, after in zip(steps, touched.batches, strict=True):
        present = before.mask > 0
        torch.testing.assert_close(touched.rows.gather(1, after.target)[present], before.target[present])
        if history:
            torch.testing.assert_close(touched.rows.gather(1, after.history)[present], before.history[present])
        assert before.negatives is not None
        assert after.negatives is not None
        found = touched.rows.gather(1, after.negatives)
        torch.testing.assert_close(found[before.active], before.negatives[before.active])


@given(batches(), st.booleans())
def test_a_row_stands_once_and_is_touched(steps: list[Examples], history: bool) -> None:
    touched = touched_rows(steps, ITEMS, history=history)
    for user, rows in enumerate(touched.rows.tolist()):
        expected = set()
        for step in steps:
            parts = (step.history, step.target) if history else (step.target,)
            expected |= {int(code) for part in parts for code in part[user][step.mask[user] > 0]}
            if bool(step.active[user]):
                assert step.negatives is not None
                expected |= set(step.negatives[user].tolist())
        distinct = rows[: len(expected)]  # padding repeats the first
        assert sorted(distinct) == sorted(expected)
        assert set(rows[len(expected) :]) <= ({rows[0]} if expected else {0})
