"""Cases for any pipeline: a crafted person in an ordinary crowd, or a drawn cohort."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from simulations.audits.sensitivity.drawing import Draw
from simulations.audits.sensitivity.neighbours import Case, Pipeline, Way
from simulations.audits.sensitivity.people import CRAFTED, crowd, draw_person

BYSTANDERS = 3
"""Ordinary people beside the crafted one."""

WAYS: tuple[Way, ...] = ("removed", "replaced", "emptied")


class Crafted(Pipeline, Protocol):
    """A pipeline that knows who tells most about it."""

    @property
    def num_items(self) -> int:
        """Items of its catalogue."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Crafted people, those who tell most about it first."""

    @property
    def endless(self) -> bool:
        """Whether people of a thousand events may come."""


def crafted_cases(
    pipelines: Sequence[Crafted], kinds: int, way: Way = "removed", bystanders: int = BYSTANDERS
) -> Iterator[Case]:
    """Yield each pipeline with its first ``kinds`` crafted people, each taken out of an ordinary crowd."""
    for number in range(kinds):
        for pipeline in pipelines:
            telling = tuple(dict.fromkeys(pipeline.kinds))
            if number < len(telling):
                odd = CRAFTED[telling[number]]("odd", pipeline.num_items)
                people = (odd, *crowd(bystanders, pipeline.num_items))
                yield Case(pipeline=pipeline, people=people, chosen=0, way=way)


def draw_case(draw: Draw, pipeline: Crafted, ways: Sequence[Way] = WAYS) -> Case:
    """Draw a cohort for a pipeline, and who of it goes, is replaced or emptied."""
    number, items = draw.integer(1, 4), pipeline.num_items
    endless = pipeline.endless
    people = tuple(draw_person(draw, f"user-{place}", items, endless=endless) for place in range(number))
    way = draw.one_of(ways)
    other = draw_person(draw, "another", items, endless=endless) if way == "replaced" else None
    return Case(pipeline=pipeline, people=people, chosen=draw.integer(0, number - 1), other=other, way=way)
