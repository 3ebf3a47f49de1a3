"""How a doctor's findings are told: one line a part, its remedy below it, and an exit code."""

from collections.abc import Sequence

import typer

from fedrec.cli.output import write_json, write_line
from fedrec.doctor.finding import Finding

SOMETHING_IS_BAD = 1


def tell(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print findings, and leave with 1 if something must be done."""
    if as_json:
        write_json([finding.as_record() for finding in findings])
    else:
        for finding in findings:
            write_line(f"{finding.state.value:5} {finding.what}: {finding.detail}")
            if finding.remedy:
                write_line(f"{'':5} -> {finding.remedy}")
    if any(finding.bad for finding in findings):
        raise typer.Exit(SOMETHING_IS_BAD)
