"""Level 2 of an audit, its second half: a small run of the production's server and nodes, watched from outside."""

from simulations.audits.conduct.findings import WATCHED_RUN, conduct_checks, conduct_findings

__all__ = ["WATCHED_RUN", "conduct_checks", "conduct_findings"]
