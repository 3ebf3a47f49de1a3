"""Writes ``audit.json`` and ``audit.html``, each whole or not at all."""

from pathlib import Path

from fedrec.audit.report.page import pictures_of, render_audit
from fedrec.audit.report.record import AuditReport
from fedrec.runs.atomic import write_atomically

JSON_NAME, PAGE_NAME = "audit.json", "audit.html"


def write_report(report: AuditReport, folder: Path) -> tuple[Path, Path]:
    """Write both files into ``folder``, which is made if need be; return where they are."""
    page = render_audit(report, pictures_of(report))
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / JSON_NAME, folder / PAGE_NAME
    write_atomically(paths[0], report.to_json().encode())
    write_atomically(paths[1], page.encode())
    return paths
