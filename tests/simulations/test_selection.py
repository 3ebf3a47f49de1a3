"""Early stopping on the validation events."""

import pytest

from fedrec.config import SelectionConfig
from simulations.selection import EarlyStop


def look(stop: EarlyStop, *values: float) -> list[bool]:
    """Look after rounds 5, 10, ..."""
    return [stop(5 * n, {"ndcg@10": value, "hr@10": 0.0}) for n, value in enumerate(values, 1)]


def test_it_stops_after_as_many_looks_without_a_better_one_as_patience_says() -> None:
    stop = EarlyStop(config=SelectionConfig(patience=2))
    assert look(stop, 0.1, 0.3, 0.2, 0.3) == [False, False, False, True]
    assert stop.best_round == 10


@pytest.mark.parametrize("patience", [1, 3])
def test_it_never_stops_while_each_look_is_better(patience: int) -> None:
    stop = EarlyStop(config=SelectionConfig(patience=patience))
    assert not any(look(stop, 0.1, 0.2, 0.3, 0.4, 0.5))
    assert stop.best_round == 25
