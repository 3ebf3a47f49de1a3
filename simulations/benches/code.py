"""The code that was measured: its commit, and whether it was changed since."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

UNKNOWN = "unknown"
CODE = ("fedrec", "clients", "server", "simulations", "pyproject.toml", "constraints.txt")
"""What figures depend on, below a checkout's root. What measuring itself writes is not among it."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """``commit``: ten characters, ``unknown`` outside a checkout. ``dirty``: whether ``CODE`` differs from it."""

    commit: str
    dirty: bool

    @classmethod
    def here(cls) -> Self:
        """Look at the checkout that this module is part of; one that merely holds the installation is none."""
        own = Path(__file__).resolve()
        top = _git(own.parent, "rev-parse", "--show-toplevel")
        if top is None or _git(own.parent, "ls-files", "--error-unmatch", own.name) is None:
            return cls(commit=UNKNOWN, dirty=False)
        commit = _git(Path(top), "rev-parse", "--short=10", "HEAD")
        return cls(commit=commit or UNKNOWN, dirty=bool(_git(Path(top), "status", "--porcelain", "--", *CODE)))

    def __str__(self) -> str:
        return f"{self.commit}, changed since" if self.dirty else self.commit


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
