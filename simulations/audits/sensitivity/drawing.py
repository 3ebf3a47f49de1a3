"""Where random cases come from: Hypothesis, behind three questions, in the one module that imports it.

So everything that is fuzzed can be read without knowing Hypothesis, and audits run without it where nothing is fuzzed.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from fedrec.optional import optional

Choice = TypeVar("Choice")

REMEDY = "pip install 'fedrec[audit]'"


class Draw(Protocol):
    """What a case is drawn by; answers are recorded, so that a case can be made smaller."""

    def one_of(self, options: Sequence[Choice]) -> Choice:
        """Return one of the options; the first ones count as simpler."""

    def integer(self, least: int, most: int) -> int:
        """Return a whole number from ``least`` to ``most``."""

    def integers(self, least: int, largest: int, *, most: int) -> list[int]:
        """Return up to ``most`` whole numbers from ``least`` to ``largest``."""


class BrokenError(Exception):
    """A case that broke what it should not: for Hypothesis' ears alone."""


class _Drawn:
    def __init__(self, strategies: Any, answer: Callable[[Any], Any]) -> None:
        self._strategies, self._answer = strategies, answer

    def one_of(self, options: Sequence[Choice]) -> Choice:
        chosen: Choice = self._answer(self._strategies.sampled_from(options))
        return chosen

    def integer(self, least: int, most: int) -> int:
        return int(self._answer(self._strategies.integers(least, most)))

    def integers(self, least: int, largest: int, *, most: int) -> list[int]:
        return list(self._answer(self._strategies.lists(self._strategies.integers(least, largest), max_size=most)))


def is_installed() -> bool:
    """Return whether there is something to draw with."""
    return importlib.util.find_spec("hypothesis") is not None


def each_drawn(judge: Callable[[Draw], bool], *, seed: int, examples: int, smaller: int) -> None:
    """Ask ``judge`` about ``examples`` drawn cases; of the first that it finds bad, about ``smaller`` smaller ones.

    ``judge`` draws a case and returns whether it is good; it keeps what it has seen. The same seed draws the same
    cases. Nothing is kept on the disk. Raises ``ConfigError`` where Hypothesis is missing.
    """
    if examples < 1:
        return
    hypothesis = optional("hypothesis", extra="audit", purpose="the sensitivity fuzz")
    strategies = optional("hypothesis.strategies", extra="audit", purpose="the sensitivity fuzz")
    database = optional("hypothesis.database", extra="audit", purpose="the sensitivity fuzz")
    left = smaller

    def good(answer: Callable[[Any], Any]) -> bool:
        nonlocal left
        drawn = _Drawn(strategies, answer)
        if left < 0:  # enough was seen: whatever else Hypothesis asks about is good
            return True
        verdict = judge(drawn)
        left -= not verdict
        return verdict

    def ask(verdict: bool) -> None:
        if not verdict:
            raise BrokenError

    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=database.InMemoryExampleDatabase(),
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        verbosity=hypothesis.Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
    )
    try:
        hypothesis.seed(seed)(settings(hypothesis.given(strategies.composite(good)())(ask)))()
    except (BrokenError, hypothesis.errors.Flaky):
        return  # the judge has kept it
