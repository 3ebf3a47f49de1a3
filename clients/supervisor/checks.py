"""What a catalogue or model that arrives must stand before it counts."""

from collections.abc import Sequence

from clients.artefacts.checks import content_checks
from clients.artefacts.install import Check
from fedrec.signing.manifest import Subject


def checks_of(subject: Subject) -> Sequence[Check]:
    """Return the checks of a subject's content, beside its signature, version, sizes and hashes."""
    return content_checks(subject)
