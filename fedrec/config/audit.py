"""What a run brings along so that it can be audited as a whole."""

from typing import Annotated

from pydantic import Field

from fedrec.config.section import Section

DEFAULT_CANARIES = 2000
"""Canaries where nobody says how many: with all of their coins told right, a Gaussian claim of epsilon 4 is refuted
where one false alarm in a million audits is allowed, and one of 12 where one in twenty is."""


class AuditConfig(Section):
    """Canaries for one-run auditing (``docs/audit.md``)."""

    canaries: Annotated[int, Field(ge=0)] = 0
    """Made-up users, each with an item of its own that is never recommended, who take part or not by a secret coin.
    They count as users of the run, whose public number is that of the real ones and theirs. 0 for none."""
