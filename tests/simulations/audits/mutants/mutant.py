"""A broken variant of the real pipeline, and which checks of an audit must see that it is broken.

Mutants patch production attributes where they are used, never a copy of the code. Modules of mutants, and the tests
that run them, import each other from the repository's root: ``from tests.simulations.audits.mutants.mutant import
Mutant``.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True)
class Mutant:
    """One way to break a claim.

    ``broken``: a context within which the pipeline is broken. ``caught_by``: names of checks of which at least one must
    be violated. ``settings``: overrides of the scenario that the mutant needs (``privacy.placement=device``).
    """

    name: str
    broken: Callable[[], AbstractContextManager[None]]
    caught_by: frozenset[str]
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def replacing(**targets: Any) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which attributes are replaced: ``**{"fedrec.privacy.release._noisy": other}``."""

    @contextmanager
    def broken() -> Iterator[None]:
        with ExitStack() as stack:
            for target, other in targets.items():
                stack.enter_context(patch(target, other))
            yield

    return broken
