"""The probes of a real device: this machine, its folder and its database."""

from collections.abc import Callable, Sequence

from clients.device.home import DeviceHome
from clients.guard.clock import TrustedClock
from clients.guard.spent import budget_spent
from clients.local_store import LocalStore
from clients.supervisor import probes
from clients.supervisor.eligibility import Probes
from clients.supervisor.owner import objection
from clients.supervisor.session import new_events, since_training


def machine_probes(home: DeviceHome, store: LocalStore, own: Callable[[], Sequence[int]]) -> Probes:
    """Return the probes of this machine. ``own``: ids of the processes that are this device's training."""
    clock = TrustedClock(home.ledger.with_suffix(".clock"))  # the guard's: what it has seen counts here too
    return Probes(
        power=probes.power,
        others_busy=probes.OthersBusy(own),
        metered=probes.metered,
        free_disk=lambda: probes.free_disk(home.path),
        free_memory=probes.free_memory,
        temperature=probes.temperature,
        clock_doubt=lambda: clock.read().doubt,
        objection=lambda: objection(home, store),
        budget_spent=lambda: budget_spent(home, store),
        new_events=lambda: new_events(store),
        since_training=lambda: since_training(store),
    )
