"""What a wheel says of itself: name, version, licence, what it needs; and its hash."""

import re
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Self

from clients.edge.bundle import digest_of
from fedrec.errors import DataError

MOST_METADATA = 1 << 20
"""Longest METADATA that is read."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One wheel. ``requires``: what it needs without an extra, as requirements, whatever the environment."""

    path: Path
    name: str
    version: str
    licence: str
    requires: tuple[str, ...]
    sha256: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a wheel's metadata (PEP 427, PEP 566); raise ``DataError`` if it is none."""
        try:
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
                if archive.getinfo(name).file_size > MOST_METADATA:
                    raise DataError(f"{path} has a METADATA of more than {MOST_METADATA} bytes: it is no wheel of ours")
                message = HeaderParser().parsestr(archive.read(name).decode())
        except (zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not a wheel: download it again") from error
        return cls(
            path=path,
            name=canonical(message["Name"]),
            version=message["Version"],
            licence=_licence(message),
            requires=tuple(text for text in message.get_all("Requires-Dist", []) if "extra ==" not in text),
            sha256=digest_of(path),
        )


def name_of(requirement: str) -> str:
    """Return the canonical name of the package that a requirement is about."""
    return canonical(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(message: Message) -> str:
    """Return the licence's expression or name, else what the classifiers say, else an empty text."""
    expression = message["License-Expression"]
    if expression:
        return str(expression)
    stated = str(message["License"] or "").strip()
    if stated and "\n" not in stated and len(stated) < 100:
        return stated
    names = [c.rpartition(" :: ")[2] for c in message.get_all("Classifier", []) if c.startswith("License ::")]
    return " AND ".join(names)
