import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.aggregation.reputation import Reputation
from fedrec.errors import DataError


def test_a_device_that_nothing_is_known_of_weighs_in_full() -> None:
    assert Reputation().score("new") == 1
    assert Reputation().weights() == {}


def test_three_bad_replies_in_a_row_exclude_a_device() -> None:
    found = Reputation()
    for _ in range(3):
        found = found.after([], ["bad"])
    assert found.weights() == {"bad": 0.0}


def test_good_replies_bring_a_device_back_in_time() -> None:
    found = Reputation(scores={"once": 0.5})
    rounds = 0
    while found.weights():
        found = found.after(["once"], [])
        rounds += 1
    assert 50 < rounds < 70


def test_a_bad_reply_beside_a_good_one_counts() -> None:
    assert Reputation().after(["two-faced"], ["two-faced"]).score("two-faced") == 0.5


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))), max_size=30))
def test_scores_stay_in_their_range_and_survive_the_disk(history: list[tuple[set[str], set[str]]]) -> None:
    found = Reputation()
    for taken, set_aside in history:
        found = found.after(taken, set_aside)
    assert all(0 <= weight <= 1 for weight in found.weights().values())
    assert Reputation.from_json(found.to_json()) == found


DAMAGED = ["", "[]", '{"version": 1}', '{"version": 9, "scores": {}}', '{"version":1,"scores":{"a":7}}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_document_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Reputation.from_json(text)
