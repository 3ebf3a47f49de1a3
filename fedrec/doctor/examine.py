"""Every look at this installation, in the order in which one rests on another. Asks no network."""

from collections.abc import Mapping

from fedrec.doctor.data_sets import data_findings
from fedrec.doctor.finding import Finding
from fedrec.doctor.machine import (
    browser,
    clock_findings,
    disk_findings,
    open_file_findings,
    port_findings,
    program_findings,
    shared_memory_findings,
)
from fedrec.doctor.packages import extra_findings, package_findings, python_findings, torch_findings


def examine(*, server_ports: Mapping[str, int], nginx: str | None) -> list[Finding]:
    """Look at everything that fedrec needs here.

    ``server_ports``: a server's default ports, by the option that changes one. ``nginx``: where it is, if it is.
    """
    return [
        *python_findings(),
        *package_findings(),
        *torch_findings(),
        *extra_findings(),
        *data_findings(),
        *disk_findings(),
        *clock_findings(),
        *port_findings(server_ports),
        *open_file_findings(),
        *shared_memory_findings(),
        *program_findings(
            {
                "nginx": (nginx, "fedrec server up and fedrec deploy-demo", "apt install nginx-light"),
                "chromium": (browser(), "tests that look at pages", "apt install chromium"),
            }
        ),
    ]
