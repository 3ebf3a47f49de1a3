"""What is said of a round once its replies are in."""

from fedrec.flower.folding import Tally
from fedrec.flower.round_in_play import Round
from fedrec.flower.state import RoundReport
from fedrec.models.split import SharedState
from fedrec.privacy.adaptive_clipping import released_share


def report_of(
    current: Round,
    tally: Tally,
    mean: SharedState | None,
    *,
    seconds: float,
    epsilon: float | None,
    abandoned: str | None = None,
) -> RoundReport:
    """Return the report of a round. ``mean``: what was released, None where nothing was."""
    mechanism = current.task.mechanism
    return RoundReport(
        round=current.number,
        contribution=current.task.contribution,
        sampled_users=sum(len(ask.participants) for ask in current.asks),
        asked=len(current.asks),
        usable=len(tally.usable),
        num_users=tally.num_users,
        refused={key: refusal.reason.value for key, refusal in tally.refused.items()},
        quarantined=tally.quarantined,
        reasons=tally.reasons,
        judged=tally.judged,
        failed=tally.failed,
        bytes_down=current.bytes_down,
        bytes_up=tally.bytes_up,
        seconds=seconds,
        epsilon=epsilon,
        clip_norm=mechanism.clip_norm if mechanism else None,
        within=released_share(mean or {}),
        void=abandoned is not None,
        abandoned=abandoned,
        staleness=tally.staleness if current.buffer else None,
    )
