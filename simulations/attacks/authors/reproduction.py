"""All reproductions by name: ``REPRODUCTIONS[name](seed)`` runs one and its clean twin, in some minutes at most."""

from collections.abc import Callable

from simulations.attacks.authors.record import Reproduction, Row

__all__ = ["REPRODUCTIONS", "Reproduction", "Row"]

REPRODUCTIONS: dict[str, Callable[[int], Reproduction]] = {}
