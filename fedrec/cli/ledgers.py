"""Where a run's ledger lies, for commands that take a run's folder or a ledger file, and whether all of it is there."""

from pathlib import Path

from fedrec.audit.record.checkpoint_files import read_checkpoint
from fedrec.errors import LedgerError
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder


def ledger_of(run: Path) -> Path:
    """Return the ledger of a run's folder, or ``run`` itself if it is a file.

    Raises ``LedgerError`` where there is neither, where a run under user-level privacy has lost its ledger, and where
    a checkpoint of the run rests on a line that the ledger has not: what is left would say too little was spent.
    """
    if not run.exists():
        raise LedgerError(f"{run} does not exist: name a run folder or a ledger file")
    if not run.is_dir():
        return run
    folder = RunFolder.open(run)
    kept = sorted(folder.checkpoints.glob("round-*.safetensors"))
    if not folder.ledger_path.exists():
        if kept and folder.scenario().privacy.enabled:
            raise LedgerError(
                f"ledger {folder.ledger_path} does not exist, and the run claims user-level privacy: restore the file"
            )
        return folder.ledger_path
    known = {entry.hash for entry in Ledger(folder.ledger_path).entries()}
    for path in kept:
        head = read_checkpoint(path).ledger_head
        if head and head not in known:
            raise LedgerError(
                f"ledger {folder.ledger_path} lacks the line that {path.name} rests on: lines were cut off at its end, "
                f"or it is another run's; restore it from a copy; 'fedrec audit {run}' says what else is wrong"
            )
    return folder.ledger_path
