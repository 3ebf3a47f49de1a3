"""A real browser for tests: headless Chromium over its own pipe, with every complaint and every request noted.

Speaks the DevTools protocol on file descriptors 3 (in) and 4 (out), messages ending in a zero byte; needs no driver.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
_TROUBLE = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


@dataclass
class Page:
    """One page at one width. ``complaints``: what it wrote to the console; ``requests``: URLs beside its own."""

    pipe: "_Pipe"
    session: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events on the way are noted."""
        return self.pipe.call(method, params, self.session, self._note)

    def value_of(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, path: Path, *, width: int, height: int = 900) -> None:
        """Show a file at a width of so many CSS pixels and wait until it is drawn."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=path.as_uri())
        self.call("Runtime.evaluate", expression=_DRAWN, awaitPromise=True)

    def screenshot(self) -> bytes:
        """Return a PNG of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] in _TROUBLE:
            self.complaints.append(json.dumps(event["params"]))
        elif event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if event["params"].get("type") != "Document":
                self.requests.append(url)


_DRAWN = (
    "new Promise(done => { const wait = () => document.readyState === 'complete' && location.protocol === 'file:' ? "
    "requestAnimationFrame(() => done(1)) : setTimeout(wait, 20); wait(); })"
)


class _Pipe:
    def __init__(self, write_to: int, read_from: int) -> None:
        self._out = os.fdopen(write_to, "wb", buffering=0)
        self._in = os.fdopen(read_from, "rb")
        self._last = 0
        self._rest = b""

    def call(self, method: str, params: dict[str, Any], session: str = "", note: Any = None) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params, **({"sessionId": session} if session else {})}
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            if note is not None and answer.get("sessionId") == session:
                note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = self._in.read1(1 << 20)
            assert read, "the browser has gone"
            self._rest += read
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def close(self) -> None:
        self._out.close()
        self._in.close()


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Start Chromium with a profile folder of its own; yields a function that returns a new ``Page``."""
    assert CHROMIUM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # the shell puts the two ends at 3 and 4, where the browser looks for them
    command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    options = (*_OPTIONS, f"--user-data-dir={profile}", "about:blank")
    started = subprocess.Popen(
        ["bash", "-c", command, "browser", CHROMIUM, *options],
        pass_fds=(theirs_in, theirs_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    pipe = _Pipe(ours_out, ours_in)
    try:
        yield lambda: _new_page(pipe)
        pipe.call("Browser.close", {})
    finally:
        pipe.close()
        try:
            started.wait(timeout=10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _new_page(pipe: _Pipe) -> Page:
    target = pipe.call("Target.createTarget", {"url": "about:blank"})["targetId"]
    return Page(pipe, pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
