"""Level 3 of an audit, the sensitivity fuzz: what one user can change of what is released, noise off."""

from simulations.audits.sensitivity.fuzz import sensitivity_checks, sensitivity_findings

__all__ = ["sensitivity_checks", "sensitivity_findings"]
