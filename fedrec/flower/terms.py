"""What a run is told once, and what its caller does after a round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedrec.aggregation.alarms import Alarm
from fedrec.aggregation.reputation import Reputation
from fedrec.config import FederationConfig, InteractionConfig, ModelConfig, RobustnessConfig, TrainingConfig
from fedrec.flower.enrolment import Enrolment
from fedrec.flower.events import Event
from fedrec.flower.state import RoundReport, RunState
from fedrec.privacy.adaptive_clipping import AdaptiveClipping


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a run is, told once: the model and what every task repeats."""

    model: ModelConfig
    training: TrainingConfig
    federation: FederationConfig
    catalogue_digest: str
    num_items: int
    popularity: bool
    """Whether a release of item counts comes before training. With a plan, the plan decides."""
    minimum_nodes: int = 1
    """Nodes to wait for before the roster is frozen."""
    interaction: InteractionConfig | None = None
    adaptive: AdaptiveClipping | None = None
    """How the clip norm of training rounds moves; None where it does not."""
    config_digest: str = ""
    """Of the scenario, for the ledger."""
    enrolment: Enrolment | None = field(default=None, repr=False)
    """The server's list of devices, whose seals cards and replies then need; None in a simulation, where nodes are of
    the server's own making."""
    robustness: RobustnessConfig = field(default_factory=RobustnessConfig)
    """How replies are aggregated, and what follows an alarm."""
    reputation: Reputation = field(default_factory=Reputation)
    """Of devices, from earlier runs; of a run that goes on, its state's counts."""


def _ignore(report: RoundReport, state: RunState) -> None:
    """Do nothing."""


def _unheard(event: Event) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What somebody saw who looked at a step of the model. ``watch``: what is to be remembered of it (``RunState``)."""

    alarms: tuple[Alarm, ...] = ()
    watch: Mapping[str, Tensor] = field(default_factory=dict)


def _at_ease(before: RunState, after: RunState, report: RoundReport) -> Look:
    return Look(watch=before.watch)


def _at_once(round: int) -> None:
    """Do nothing."""


def _go_on(report: RoundReport, state: RunState) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the caller does around a round; after round 0 too. ``should_stop`` may end the run early.

    A hook that raises ``OSError`` because the disk is full is called again once there is room. ``on_round`` may be told
    of a round twice, with equal reports: a crash may have come before what it did was on the disk. An abandoned round
    (``RoundReport.abandoned``) is told too; the state is then as it was.
    """

    before_round: Callable[[int], None] = _at_once
    """Called with the last committed round before another opens; returns once it may. For whoever pauses a run."""
    on_checkpoint: Callable[[RunState], None] = lambda state: None
    on_round: Callable[[RoundReport, RunState], None] = _ignore
    should_stop: Callable[[RoundReport, RunState], bool] = _go_on
    on_event: Callable[[Event], None] = _unheard
    """Told of everything that happens, when it happens, at least once. May raise ``OSError``, which is logged."""
    inspect: Callable[[RunState, RunState, RoundReport], Look] = _at_ease
    """Asked before a round is committed: what is alarming about the step from the one state to the other. It is to
    depend on its arguments alone, and finds what it remembers in ``before.watch``: a round is looked at again after a
    crash. With ``robustness.on_alarm = hold`` an alarming step is not taken, and ``watch`` of it is not kept."""
