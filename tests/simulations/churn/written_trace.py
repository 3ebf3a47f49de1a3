"""A trace as a file."""

from pathlib import Path

from simulations.churn.traces import Trace


def write_trace(trace: Trace, path: Path) -> None:
    """Write ``device,start,end``, a stretch a line."""
    rows = zip(trace.device.tolist(), trace.start.tolist(), trace.end.tolist(), strict=True)
    lines = [f"{trace.names[device]},{start!r},{end!r}" for device, start, end in rows]
    path.write_text("\n".join(["device,start,end", *lines, ""]), encoding="utf-8")
