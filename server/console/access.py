"""Who may use the console: a token from a file of mode 0600, sessions in memory, each with a token for its forms."""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from fedrec.runs.atomic import write_atomically

SESSION_SECONDS = 8 * 3600.0
MOST_SESSIONS = 16
MOST_WRONG = 5
WINDOW_SECONDS = 60.0


def token_of(path: Path) -> str:
    """Return the token in a file, drawn and written (0600) where there is none."""
    if not path.exists():
        write_atomically(path, f"{secrets.token_urlsafe(24)}\n".encode(), mode=0o600)
    return path.read_text().strip()


@dataclass
class Access:
    """Sessions of one process: ending it logs everybody out. ``clock``: seconds, never backwards."""

    token: str = field(repr=False)
    clock: Callable[[], float] = time.monotonic
    _sessions: dict[str, float] = field(default_factory=dict, repr=False)
    _wrong: list[float] = field(default_factory=list)

    def login(self, given: str) -> str | None:
        """Return a new session for the right token, None for a wrong one."""
        now = self.clock()
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            self._wrong.append(now)
            return None
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = secrets.token_urlsafe(32)
        self._sessions[session] = now + SESSION_SECONDS
        return session

    def throttled(self) -> bool:
        """Return whether there were ``MOST_WRONG`` wrong tokens within a minute: even the right one waits then."""
        self._wrong = [when for when in self._wrong if when > self.clock() - WINDOW_SECONDS]
        return len(self._wrong) >= MOST_WRONG

    def knows(self, session: str | None) -> bool:
        """Return whether a session is one of ours and has not run out."""
        return session is not None and self._sessions.get(session, float("-inf")) > self.clock()

    def logout(self, session: str) -> None:
        """Forget a session."""
        self._sessions.pop(session, None)

    def csrf(self, session: str) -> str:
        """Return what each form of a session carries, which no other page can know."""
        return hmac.new(self.token.encode(), session.encode(), sha256).hexdigest()

    def matches(self, session: str, given: str) -> bool:
        """Return whether ``given`` is the session's CSRF token, in time that tells nothing."""
        return hmac.compare_digest(given.encode(), self.csrf(session).encode())
