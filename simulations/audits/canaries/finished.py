"""A finished run as an attacker has it, and what its ledger claims: read from the run folder, changed in nothing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fedrec.config import Scenario
from fedrec.data.canaries import Canaries
from fedrec.data.catalogue import Catalogue
from fedrec.errors import ConfigError, DataError
from fedrec.flower.state import RunState
from fedrec.models import SharedState
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.entries import Charge
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.events import Event
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.canaries import read_canaries
from fedrec.runs.folder import RunFolder
from fedrec.training.start import start_from_popularity
from server.checkpoint import Checkpoints
from server.federation import Federation


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A run with canaries that has ended. ``charges``: its own user-level ones, in the order of the ledger."""

    scenario: Scenario
    canaries: Canaries
    initial: SharedState
    """The shared parameters that it began with, which are of its seed and public: anybody can compute them."""
    state: RunState
    charges: tuple[Charge, ...]

    @classmethod
    def read(cls, path: Path) -> "Finished":
        """Read a run's folder; raise ``ConfigError`` or ``DataError`` naming the file that is missing or foreign."""
        folder = RunFolder.open(path)
        scenario, canaries = folder.scenario(), read_canaries(folder.canaries_path)
        catalogue = Catalogue.load(folder.catalogue)
        if not len(canaries) or int(canaries.rows.max()) >= catalogue.num_items or int(canaries.rows.min()) < 0:
            raise DataError(
                f"{folder.canaries_path} names items that {folder.catalogue} lacks: it is of another run; restore it"
            )
        federation = Federation(scenario=scenario, catalogue=catalogue, ledger=folder.ledger_path)
        initial = federation.initial()
        state = Checkpoints(folder.checkpoints, catalogue.digest).latest(initial)
        if state is None:
            raise ConfigError(f"{folder.checkpoints} holds no checkpoint: the run has not finished; repeat it")
        if not folder.ledger_path.exists():
            raise DataError(f"{folder.ledger_path} does not exist: restore it; without it nothing says what is claimed")
        charges = tuple(
            charge
            for charge in Ledger(folder.ledger_path).charges()
            if charge.run_id == state.run_id and charge.guarantee.unit == "user"
        )
        if not charges:
            raise DataError(
                f"{folder.ledger_path} has no charge of run {state.run_id}: it is of another run; restore it"
            )
        return cls(scenario=scenario, canaries=canaries, initial=initial, state=state, charges=charges)

    @property
    def guarantee(self) -> Guarantee:
        """What the last charge was made under."""
        return self.charges[-1].guarantee

    @property
    def delta(self) -> float:
        """At which the claim is made."""
        return self.charges[-1].delta

    @property
    def events(self) -> tuple[Event, ...]:
        """What the run says that it has spent."""
        return tuple(charge.event for charge in self.charges)

    @cached_property
    def epsilon(self) -> float:
        """What the events cost at ``delta``."""
        return epsilon_pld(self.events, self.delta, adjacency=self.guarantee.adjacency)

    @property
    def statistics(self) -> Mechanism | None:
        """How the statistics before training were released; None where there were none."""
        return next((charge.mechanism for charge in self.charges if charge.round == 0), None)

    @property
    def updates(self) -> tuple[Mechanism, ...]:
        """How the updates of each round were released."""
        return tuple(charge.mechanism for charge in self.charges if charge.round and charge.name == "training")

    @property
    def started(self) -> SharedState:
        """The shared parameters before the first round of updates, but for what nobody trains."""
        counts, mechanism = self.state.popularity, self.statistics
        if counts is None:
            return self.initial
        population = self.state.roster.population
        noise = mechanism.sum_noise_std / population if mechanism else 0.0
        return start_from_popularity(self.initial, counts, noise)
