"""What the node role shows to Prometheus on loopback, off by default: states and counts, of no user and no item."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from clients.device.home import DeviceHome
from clients.local_store import LocalStore
from clients.supervisor.places import NODE, TRAINER
from clients.supervisor.reports import NodeReport, TrainerReport, steady_now
from fedrec.errors import ConfigError

OBSTACLES = (
    "owner", "budget", "clock", "link", "power", "metered", "busy", "temperature", "disk", "memory", "window",
    "events", "separation",
)  # fmt: skip
"""All that can speak against training: always these series, so that none appears with what happens on a device."""
STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Values that a count of phases is rounded down to: how often somebody's device trained is theirs to know."""


class NodeCollector(Collector):
    """Reads the reports and counters of a device when it is asked."""

    def __init__(self, home: DeviceHome, store: LocalStore) -> None:
        self._home, self._store = home, store

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        node = NodeReport.read(self._home.run / NODE)
        trainer = TrainerReport.read(self._home.run / TRAINER)
        yield _gauge("fedrec_device_linked", "1 while the SuperNode runs.", bool(node and node.state == "running"))
        yield _gauge("fedrec_device_stopped", "1 while the server's owner has stopped training.", _stopped(node))
        age = steady_now() - node.written + (node.poll_age or 0.0) if node and node.poll_age is not None else -1.0
        yield _gauge("fedrec_device_poll_age_seconds", "Since the last good poll; -1 where there is none.", round(age))
        speaking = {name for report in (node, trainer) if report for name, _ in report.obstacles}
        against = GaugeMetricFamily("fedrec_device_obstacle", "1 while this speaks against training.", labels=("name",))
        for name in OBSTACLES:
            against.add_metric((name,), float(name in speaking))
        yield against
        yield _gauge("fedrec_device_training", "1 during a task.", bool(trainer and trainer.state == "training"))
        phases = CounterMetricFamily(
            "fedrec_device_phases", "Phases reached, rounded down.", labels=("phase", "reason")
        )
        for (phase, reason), count in sorted(self._store.counts().items()):
            phases.add_metric((phase, reason), coarse(count))
        yield phases


def coarse(count: int) -> int:
    """Return the largest of ``STEPS`` that a count reaches."""
    return max(step for step in STEPS if step <= max(count, 0))


def expose(home: DeviceHome, store: LocalStore, port: int) -> Callable[[], None]:
    """Answer scrapes on ``127.0.0.1:port``; return what ends it. ``ConfigError`` if the port is taken."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(home, store))
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be shown at 127.0.0.1:{port} ({error.strerror}): set [metrics] port"
        ) from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _stopped(node: NodeReport | None) -> bool:
    return bool(node and node.stopped)
