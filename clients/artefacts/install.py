"""Putting a signed version of a catalogue or a served model in place, or refusing it and leaving all as it was.

In this order: signature, version, room on the disk, files (hash and size while they stream in), what ``checks`` say of
the content, the folder's new name, the link. A power cut at any point leaves the version before it, or the new one.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clients.artefacts import versions
from clients.artefacts.versions import current, roll_back
from fedrec.errors import DataError, SignatureError
from fedrec.faults import reach
from fedrec.runs.atomic import sync_folder
from fedrec.signing.manifest import Manifest, ManifestFile, Subject

__all__ = ["Check", "Installed", "OpenFile", "current", "install", "roll_back"]

MAX_SIZE = 2 << 30
"""Bytes of a version's files together that are fetched at most."""
RESERVE = 32 << 20
"""Bytes that stay free on the disk beside a version: events and the ledger need room too."""

_PIECE = 1 << 20

OpenFile = Callable[[str, int], Iterable[bytes]]
"""Yields a published file in pieces, by its SHA-256 and its size in bytes."""

Check = Callable[[Path, Manifest], str | None]
"""Looks at a version's files before they count; returns why they must not, one sentence, or None."""

FreeBytes = Callable[[Path], int]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What came of it. ``fresh``: whether this version was fetched now; False where it counted already."""

    subject: Subject
    version: int
    folder: Path
    catalogue_digest: str
    fresh: bool


def free_bytes(folder: Path) -> int:
    """Return the bytes that are free on the disk of a folder."""
    return shutil.disk_usage(folder).free


def install(
    manifest_bytes: bytes,
    signer: str,
    subject: Subject,
    folder: Path,
    open_file: OpenFile,
    checks: Sequence[Check] = (),
    *,
    free: FreeBytes = free_bytes,
) -> Installed:
    """Fetch and verify a version and let it count.

    ``signer``: hex of the key that this device trusts. ``folder``: of all versions of the ``subject``. Raises
    ``SignatureError`` for a manifest, a hash or a size that is not the signer's, or a version that is older than one
    that was here; ``DataError`` for content that ``checks`` refuse and for a full disk. After any error the version
    that counted before still does.
    """
    manifest = Manifest.read(manifest_bytes, signer, subject)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    present = _present(folder, signer, manifest)
    if present is not None:
        return present
    _check_version(folder, manifest)
    versions.forget_others(folder)
    _check_room(folder, manifest, free)
    incoming = folder / f"{versions.INCOMING}{manifest.version}"
    incoming.mkdir(mode=0o700)
    try:
        for name, file in sorted(manifest.files.items()):
            _fetch(incoming / name, name, file, partial(_kept_or, open_file, _kept(folder, file)))
        reach("artefact.fetched")
        for check in checks:
            reason = check(incoming, manifest)
            if reason is not None:
                raise DataError(f"version {manifest.version} of the {subject} is refused: {reason}")
        _write(incoming / versions.MANIFEST, [manifest_bytes])
        sync_folder(incoming)
        reach("artefact.written")
        _put_in_place(folder, incoming, manifest.version)
    except Exception:  # whatever it was, nothing half-written stays; it is raised again
        shutil.rmtree(incoming, ignore_errors=True)
        raise
    versions.forget_others(folder)
    return _installed(folder, manifest, fresh=True)


def _put_in_place(folder: Path, incoming: Path, version: int) -> None:
    target = folder / str(version)
    if target.exists():  # put there before a power cut that came before the link, or damaged since
        shutil.rmtree(target)
    incoming.rename(target)
    sync_folder(folder)
    reach("artefact.renamed")
    versions.switch(folder, version)
    reach("artefact.switched")
    versions.remember_highest(folder, version)


def _present(folder: Path, signer: str, manifest: Manifest) -> Installed | None:
    """Return the version that counts if it is this very one, whole; it is fetched anew where it is damaged."""
    version = folder / str(manifest.version)
    if current(folder) != manifest.version:
        return None
    try:
        kept = Manifest.read((version / versions.MANIFEST).read_bytes(), signer, manifest.subject)
    except (OSError, SignatureError):
        return None
    if kept != manifest:
        raise SignatureError(
            f"the server signed two different versions {manifest.version} of the {manifest.subject}: the first stays; "
            "ask the server's owner"
        )
    return _installed(folder, manifest, fresh=False) if versions.is_whole(version) else None


def _check_version(folder: Path, manifest: Manifest) -> None:
    highest = versions.highest(folder)
    if manifest.version < highest:
        raise SignatureError(
            f"version {manifest.version} of the {manifest.subject} is older than {highest}, which this device has had: "
            "it is refused"
        )
    if manifest.version == versions.rolled_back(folder):
        raise DataError(
            f"version {manifest.version} of the {manifest.subject} was rolled back on this device: the server's owner "
            "publishes what is mended as a new version"
        )


def _check_room(folder: Path, manifest: Manifest, free: FreeBytes) -> None:
    if versions.MANIFEST in manifest.files:
        raise DataError(f"version {manifest.version} of the {manifest.subject} has a file of its own manifest's name")
    if manifest.size > MAX_SIZE:
        raise DataError(
            f"version {manifest.version} of the {manifest.subject} has {manifest.size} bytes, more than the {MAX_SIZE} "
            "that a device takes"
        )
    room = free(folder)
    if room < manifest.size + RESERVE:
        raise DataError(
            f"version {manifest.version} of the {manifest.subject} needs {manifest.size} bytes and {RESERVE} to spare, "
            f"{room} are free on the disk of {folder}: make room; the version before it goes on counting"
        )


def _kept(folder: Path, file: ManifestFile) -> Path | None:
    """Return a file of a version that is here with the same hash, whole: it need not come over the network again."""
    for version in reversed(versions.versions(folder)):
        with suppress(DataError):
            for name, sha256 in versions.digests(folder / str(version)).items():
                path = folder / str(version) / name
                if sha256 == file.sha256 and versions.hash_of(path) == sha256:
                    return path
    return None


def _kept_or(open_file: OpenFile, kept: Path | None, digest: str, size: int) -> Iterable[bytes]:
    return open_file(digest, size) if kept is None else _pieces(kept)


def _pieces(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _fetch(path: Path, name: str, file: ManifestFile, open_file: OpenFile) -> None:
    """Write a published file, and raise as soon as it is not what the manifest says."""
    digest, size = hashlib.sha256(), 0

    def checked() -> Iterable[bytes]:
        nonlocal size
        for piece in open_file(file.sha256, file.size):
            size += len(piece)
            if size > file.size:
                raise SignatureError(f"file {name!r} is longer than the {file.size} bytes that the manifest says")
            digest.update(piece)
            yield piece

    _write(path, checked())
    if size != file.size:
        raise SignatureError(f"file {name!r} ended after {size} of {file.size} bytes: it will be fetched again")
    if digest.hexdigest() != file.sha256:
        raise SignatureError(f"file {name!r} does not have the hash that the manifest says: it was altered on the way")


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _installed(folder: Path, manifest: Manifest, *, fresh: bool) -> Installed:
    return Installed(
        subject=manifest.subject,
        version=manifest.version,
        folder=folder / str(manifest.version),
        catalogue_digest=manifest.catalogue_digest,
        fresh=fresh,
    )
