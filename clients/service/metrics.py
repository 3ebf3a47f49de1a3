"""What the local service counts: calls and their time by method and status. No user, item, event or list of them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.exposition import generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
"""Upper ends in seconds; coarse, so that the time of one answer tells nothing of the history it was made from."""


class ServiceMetrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "fedrec_device_api_calls", "Calls to the local service.", ("method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "fedrec_device_api_seconds", "Time to answer.", ("method",), buckets=BUCKETS, registry=self.registry
        )

    def answered(self, method: str, status: str, seconds: float) -> None:
        """Count one call. ``method``: one that the service has, so that no caller can add a series."""
        self._calls.labels(method, status).inc()
        self._seconds.labels(method).observe(seconds)

    def text(self) -> str:
        """Return everything in Prometheus' text format."""
        return str(generate_latest(self.registry).decode())

    def expose(self, port: int) -> Callable[[], None]:
        """Answer scrapes on ``127.0.0.1:port``; return what ends it."""
        server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end
