"""What the local service counts: calls and their time by method and status. No user, item, event or list of them.

Imported only where the owner has switched metrics on: ``prometheus_client`` costs a tenth of a second to load.
"""

import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
"""Upper ends in seconds; coarse, so that the time of one answer tells nothing of the history it was made from."""
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?")


class ServiceMetrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "fedrec_device_api_calls", "Calls to the local service.", ("method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "fedrec_device_api_seconds", "Time to answer.", ("method",), buckets=BUCKETS, registry=self._registry
        )

    def answered(self, method: str, status: str, seconds: float) -> None:
        """Count one call. ``method``: one that the service has, so that no caller can add a series."""
        self._calls.labels(method, status).inc()
        self._seconds.labels(method).observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return bytes(generate_latest(self._registry))


def expose(text: Callable[[], bytes], port: int) -> Callable[[], None]:
    """Answer ``GET /metrics`` on ``127.0.0.1:port`` with ``text()``; return what ends it.

    A page in a browser that came by a name of its own (DNS rebinding) is refused by the name that it asks for.
    """

    class Scrape(BaseHTTPRequestHandler):
        timeout = 5  # seconds for a request to come in: one that never ends holds a thread no longer

        def do_GET(self) -> None:
            if not _LOOPBACK.fullmatch(self.headers.get("Host", "")):
                self.send_error(403)
            elif self.path != "/metrics":
                self.send_error(404)
            else:
                content = text()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet: who scrapes when is nobody's business."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Scrape)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="metrics", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
