"""How figures are written in the cells of the page."""

from fedrec.evaluation.bootstrap import Interval

NOT_RUN = "not run"


def percent(share: float, digits: int = 0) -> str:
    """Return ``93 %``."""
    return f"{100 * share:.{digits}f} %"


def signed_percent(share: float) -> str:
    """Return ``-1.3 %``."""
    return f"{100 * share:+.1f} %"


def with_ends(interval: Interval) -> str:
    """Return ``0.148 [0.126, 0.171]``."""
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def signed(interval: Interval) -> str:
    """Return ``+0.029 [+0.005, +0.053]``."""
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
