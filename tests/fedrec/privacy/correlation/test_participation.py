import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.privacy.correlation.participation import correlation_for, rotation_cohort


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 30), st.text("abc", min_size=1, max_size=4))
def test_the_rotation_asks_everybody_once_in_so_many_rounds(population, separation, first, run_id):
    turns = [rotation_cohort(population, separation, first + step, run_id) for step in range(separation)]
    assert sorted(np.concatenate(turns).tolist()) == list(range(population))
    assert all(np.all(np.diff(turn) > 0) for turn in turns)
    sizes = [len(turn) for turn in turns]
    assert max(sizes) - min(sizes) <= 1
    assert np.array_equal(rotation_cohort(population, separation, first + separation, run_id), turns[0])


def test_groups_are_those_of_the_run_and_not_of_the_roster_s_order():
    one, other = (rotation_cohort(100, 4, 1, run) for run in ("run-1", "run-2"))
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, np.arange(0, 100, 4))


@pytest.mark.parametrize("arguments", [(-1, 2, 1), (5, 0, 1), (5, 2, 0)])
def test_a_rotation_of_nothing_is_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        rotation_cohort(*arguments, "run-1")


def test_a_stream_s_pattern_is_that_of_the_rotation():
    banded = correlation_for("banded", 1000, 50)
    assert (banded.participations, banded.sensitivity) == (20, pytest.approx(20**0.5))
    assert correlation_for("tree", 1000, 50).sensitivity > banded.sensitivity
    assert correlation_for("banded", 7, 9).participations == 1
    with pytest.raises(ValueError, match="tree or banded"):
        correlation_for("none", 5, 1)


def test_turns_hang_on_places_in_the_roster_so_that_a_user_is_zeroed_out_and_not_taken_away() -> None:
    def turns(population: int) -> dict[int, int]:
        cohorts = {number: rotation_cohort(population, 4, number, "run") for number in range(1, 5)}
        return {int(user): number for number, cohort in cohorts.items() for user in cohort}

    kept, fewer = turns(40), turns(39)
    assert kept == turns(40)  # whatever the users' data are
    assert any(kept[user] != fewer[user] for user in fewer)
