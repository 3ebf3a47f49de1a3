"""The race under every benchmark: turns, spreads, ratios paired by repeat, and entrants in processes of their own."""

import os
import sys

import pytest

from fedrec.errors import ConfigError, FedRecError
from simulations.benches.racing import Entrant, Race, Spread, in_fresh_process, in_program, race


def counting(name: str, order: list[str]) -> Entrant:
    def run() -> dict[str, float]:
        order.append(name)
        return {"turn": float(len(order))}

    return Entrant(name=name, run=run)


def test_entrants_take_turns_and_each_repeat_begins_with_the_next():
    order: list[str] = []
    told: list[tuple[str, int]] = []
    entrants = [counting(name, order) for name in "abc"]
    found = race(entrants, 3, on_lap=lambda name, repeat: told.append((name, repeat)))
    assert "".join(order) == "abc" + "bca" + "cab"
    assert told[:4] == [("a", 1), ("b", 1), ("c", 1), ("b", 2)]
    assert found.laps["a"] == ({"turn": 1.0}, {"turn": 6.0}, {"turn": 8.0})
    assert found.repeats == 3


def test_a_ratio_is_paired_by_repeat_so_that_a_slow_minute_counts_for_both():
    found = Race(laps={"ours": ({"x": 10}, {"x": 1}, {"x": 9}), "theirs": ({"x": 5}, {"x": 0.5}, {"x": 3})})
    assert found.ratio("ours", "theirs", "x") == Spread(median=2, low=2, high=3)
    assert found.spread("ours", "x") == Spread(median=9, low=1, high=10)


@pytest.mark.parametrize(("names", "repeats"), [("a", 0), ("", 1), ("aa", 1)])
def test_a_race_without_repeats_or_distinct_entrants_is_refused(names, repeats):
    with pytest.raises(ValueError, match="distinct names"):
        race([counting(name, []) for name in names], repeats)


def refuse(text: str) -> None:
    raise ConfigError(text)


def test_a_fresh_process_gives_back_what_its_function_returns():
    assert in_fresh_process(os.getpid) != os.getpid()


def test_an_error_in_a_fresh_process_is_raised_here():
    with pytest.raises(ConfigError, match="no such thing"):
        in_fresh_process(refuse, "no such thing")


def test_a_fresh_process_that_dies_is_an_error_that_says_so():
    with pytest.raises(FedRecError, match="the process of _exit died"):
        in_fresh_process(os._exit, 3)


ECHO = "import json, sys; print('a log line'); print(json.dumps({'got': json.load(sys.stdin)['x'] + 1}))"


def test_a_program_is_told_and_answers_in_json():
    assert in_program([sys.executable, "-c", ECHO], {"x": 1}, os.environ) == {"got": 2}


def test_a_program_s_last_words_stand_in_the_error():
    script = "import sys; sys.exit('rival: no items')"
    with pytest.raises(FedRecError, match="ended with code 1: rival: no items"):
        in_program([sys.executable, "-c", script], {}, os.environ)
