"""The bill of materials of a bundle: CycloneDX 1.5 as JSON, from nothing but its wheels."""

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

from clients.edge.wheels import Wheel, name_of

PRODUCT = "fedrec"


def bill_of_materials(wheels: Sequence[Wheel], now: datetime.datetime) -> dict[str, Any]:
    """Return the bill: every wheel with package URL, licence and SHA-256, and which of them needs which.

    The wheel of ``fedrec`` itself is the subject; the same wheels give the same serial number. Needed packages that
    are not among the wheels (other platforms', or of another profile) are left out of the graph.
    """
    by_name = {wheel.name: wheel for wheel in wheels}
    subject = by_name[PRODUCT]
    parts = sorted((wheel for wheel in wheels if wheel is not subject), key=lambda wheel: wheel.name)
    identity = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(sorted(wheel.sha256 for wheel in wheels)))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{identity}",
        "version": 1,
        "metadata": {
            "timestamp": now.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {**_component(subject), "type": "application"},
        },
        "components": [_component(wheel) for wheel in parts],
        "dependencies": [
            {"ref": _url(wheel), "dependsOn": [_url(by_name[name]) for name in _needs(wheel) if name in by_name]}
            for wheel in [subject, *parts]
        ],
    }


def _needs(wheel: Wheel) -> list[str]:
    return sorted({name_of(requirement) for requirement in wheel.requires})


def _component(wheel: Wheel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _url(wheel),
        "name": wheel.name,
        "version": wheel.version,
        "purl": _url(wheel),
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
    }
    if wheel.licence:
        found["licenses"] = [{"license": {"name": wheel.licence}}]
    return found


def _url(wheel: Wheel) -> str:
    """Return a package URL; a local version (``+cpu``) has its plus sign escaped."""
    return f"pkg:pypi/{wheel.name}@{wheel.version.replace('+', '%2B')}"
