"""Where the ledgers lie that an audit is told of."""

from collections.abc import Sequence
from pathlib import Path

from fedrec.errors import ConfigError
from fedrec.runs.folder import RunFolder


def device_ledgers_in(devices: Sequence[Path]) -> tuple[Path, ...]:
    """Return the named ledgers, and those in named folders at any depth; raise ``ConfigError`` for a folder without."""
    found: list[Path] = []
    for path in devices:
        inside = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path} holds no ledger (*.jsonl) at any depth: name a folder of devices' ledgers")
        found += inside
    return tuple(found)


def ledger_in(path: Path) -> Path:
    """Return the ledger of a run's folder, or the ledger itself."""
    return RunFolder(path).ledger_path if path.is_dir() else path
