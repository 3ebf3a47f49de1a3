"""Level 2 of an audit, its first half: the production's noise, its bound on one user, and what one release tells."""

from simulations.audits.mechanism.findings import mechanism_checks, mechanism_findings

__all__ = ["mechanism_checks", "mechanism_findings"]
