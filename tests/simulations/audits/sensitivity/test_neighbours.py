"""How far two neighbouring cohorts' sums are apart, on pipelines of which it is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from fedrec.errors import ProtocolError
from fedrec.privacy.adaptive_clipping import WITHIN
from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Bounds, Case, change_of, smaller_cases
from simulations.audits.sensitivity.people import CRAFTED, Person, crowd, draw_person, histories_of, person
from simulations.audits.sensitivity.search import search


@dataclass(frozen=True)
class Lengths:
    """Each person adds its number of events to ``a``, and to a row of ``table``. Some people are odd."""

    bounds: Bounds = field(default_factory=lambda: Bounds(whole=10.0))
    words: str = "sums of lengths"
    fails_with: int = -1
    nan_with: int = -1
    counted: bool = False

    def sum_of(self, people: Sequence[Person]) -> dict[str, Tensor]:
        lengths = [len(one.items) for one in people]
        if self.fails_with in lengths:
            raise ProtocolError("a failing user")
        table = torch.zeros(2, 2)
        table[0, 0] = sum(lengths)
        total = {"a": torch.tensor([float(sum(lengths))]), "table": table}
        if self.nan_with in lengths:
            total["a"][0] = math.nan
        return {**total, WITHIN: torch.tensor([0.5 * len(people)])} if self.counted else total


PEOPLE = (person("a", range(6)), person("b", range(3)), person("c", range(4)))


def case(pipeline: Lengths, **rest: object) -> Case:
    return Case(pipeline=pipeline, people=PEOPLE, **{"chosen": 0, **rest})


def test_the_change_is_over_all_tensors_together_in_units_of_the_bound() -> None:
    assert change_of(case(Lengths())).ratio == pytest.approx(6 * math.sqrt(2) / 10)


def test_the_bound_that_is_come_nearest_to_is_the_one_that_is_told() -> None:
    bounds = Bounds(whole=100.0, row=2.0, tables=frozenset({"table"}))
    change = change_of(case(Lengths(bounds=bounds)))
    assert change.ratio == pytest.approx(3.0)
    assert change.bound == "a row of table"


def test_the_count_of_users_has_a_bound_of_its_own() -> None:
    change = change_of(case(Lengths(counted=True, bounds=Bounds(whole=1e6))))
    assert change.ratio == pytest.approx(1.0)
    assert "count" in change.bound


@pytest.mark.parametrize("kind", ["fails_with", "nan_with"])
def test_who_decides_whether_there_is_a_sum_moves_it_by_what_all_others_add(kind: str) -> None:
    change = change_of(case(Lengths(**{kind: 6})))
    assert change.ratio == pytest.approx(7 * math.sqrt(2) / 10)
    assert change.failure
    assert not change.is_void


def test_no_sum_on_either_side_says_nothing() -> None:
    assert change_of(case(Lengths(fails_with=3))).is_void


@pytest.mark.parametrize(("way", "others"), [("removed", 2), ("replaced", 3), ("emptied", 3)])
def test_neighbours_are_without_the_person_or_have_another_in_its_place(way: str, others: int) -> None:
    one = case(Lengths(), way=way, other=person("d", [1]) if way == "replaced" else None)
    assert len(one.neighbour) == others
    assert one.allowed == (2 if way == "replaced" else 1)
    assert PEOPLE[0] not in one.neighbour
    assert set(PEOPLE[1:]) < {*one.neighbour, "more"}


def test_smaller_cases_are_smaller_and_keep_the_person() -> None:
    for smaller in smaller_cases(case(Lengths(), chosen=1)):
        assert smaller.size < case(Lengths()).size
        assert smaller.people[smaller.chosen].key == "b"


def test_a_counterexample_is_walked_down_to_the_least_one() -> None:
    beyond = Lengths(bounds=Bounds(whole=2 * math.sqrt(2)))
    found = search([case(beyond)], lambda draw: pytest.fail("the crafted one is enough"), seed=0, examples=5)
    assert found.worst is not None
    assert len(found.worst.case.people) == 1
    assert len(found.worst.case.people[0].items) == 3
    assert found.largest == pytest.approx(3.0)


def test_what_is_drawn_is_made_smaller_too() -> None:
    beyond = Lengths(bounds=Bounds(whole=2 * math.sqrt(2)))

    def drawn(draw: Draw) -> Case:
        people = tuple(draw_person(draw, str(place), 5, endless=False) for place in range(draw.integer(1, 3)))
        return Case(pipeline=beyond, people=people, chosen=0)

    found = search([], drawn, seed=1, examples=50)
    assert found.worst is not None
    assert found.worst.case.size == (1, 3)


def test_crafted_people_are_told_in_words() -> None:
    told = {kind: make("someone", 8).told() for kind, make in CRAFTED.items()}
    assert told["nothing"] == "had done nothing"
    assert told["once"] == "had one event"
    assert told["faithful"] == "had met one item 12 times"
    assert told["endless"] == "had 1000 events with 8 items"
    assert "rated by numbers as large as 3e+38" in told["extreme"]


def test_nobody_of_the_crowd_has_met_the_last_item() -> None:
    assert 7 not in set(histories_of(crowd(10, 8)).items.tolist())
