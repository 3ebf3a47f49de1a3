"""What an attacker learns from what a federation shows: risk figures, level 5 of an audit, never an epsilon."""

from simulations.audits.attacks.findings import attack_findings

__all__ = ["attack_findings"]
