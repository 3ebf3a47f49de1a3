"""How an audit ends: its report on the terminal and on the disk, and the code that the command leaves with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedrec.audit.report.files import write_report
from fedrec.audit.report.record import AuditReport
from fedrec.audit.report.words import by_severity
from fedrec.cli.audit_tables import write_audit
from fedrec.cli.output import write_json, write_line
from fedrec.errors import AuditError, FedRecError


def tell(report: AuditReport, folder: Path | None, *, as_json: bool) -> None:
    """Print a report, write it to ``folder`` where there is one, and raise ``AuditError`` if it found a violation.

    Raises ``FedRecError`` where a level that was asked for could not be made: that is no pass.
    """
    if as_json:
        write_json(report.model_dump(mode="json", by_alias=True))
    else:
        write_audit(report)
    if folder is not None and report.verdict != "nothing to audit":
        paths = write_report(report, folder)
        if not as_json:
            write_line(f"report: {paths[1]} (the same in {paths[0].name})")
    if report.violations:
        first, more = by_severity(report.violations)[0], len(report.violations) - 1
        also = f"; and {more} more violation{'' if more == 1 else 's'}" if more else ""
        raise AuditError(f"{report.subject.path}: {first.name}: {first.found}{also}")
    if report.unfinished:
        raise FedRecError(f"{report.subject.path}: {'; '.join(report.unfinished)}")


@contextmanager
def never_a_pass() -> Iterator[None]:
    """Turn whatever goes wrong into an error that leaves with 2: what was not audited has not passed."""
    try:
        yield
    except (FedRecError, PermissionError, NotADirectoryError, IsADirectoryError):
        raise
    except (Exception, SystemExit) as error:  # also of code that is audited, and may wish to leave with 0
        raise FedRecError(
            f"the audit could not be finished, and says nothing: {type(error).__name__}: {error}; "
            "'fedrec --debug audit ...' shows where"
        ) from error
