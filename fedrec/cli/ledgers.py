"""Where a run's ledger lies, for commands that take a run's folder or a ledger file."""

from pathlib import Path

from fedrec.errors import LedgerError
from fedrec.runs.folder import RunFolder


def ledger_of(run: Path) -> Path:
    """Return the ledger of a run's folder, or ``run`` itself if it is a file; raise ``LedgerError`` for neither."""
    if not run.exists():
        raise LedgerError(f"{run} does not exist: name a run folder or a ledger file")
    return RunFolder.open(run).ledger_path if run.is_dir() else run
