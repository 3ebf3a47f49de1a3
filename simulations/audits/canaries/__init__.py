"""Level 4 of an audit: a whole training run, judged by what it gives away of the coins of its canaries."""

from simulations.audits.canaries.findings import CANARIES, run_findings
from simulations.audits.canaries.repeat import REPEATS, repeat_with_canaries

__all__ = ["CANARIES", "REPEATS", "repeat_with_canaries", "run_findings"]
