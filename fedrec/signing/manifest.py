"""What a server says of a version of its catalogue or of its served model: files by hash, signed, versions rising."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrec.errors import SignatureError
from fedrec.signing.documents import read_document, sign_document

Subject = Literal["catalogue", "model"]

KIND = "manifest"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """One file: its SHA-256 and its size in bytes."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or not _DIGEST.fullmatch(self.sha256):
            raise ValueError("sha256 must be 64 hex digits")
        if type(self.size) is not int or self.size < 0:
            raise ValueError("size must be a whole number of bytes")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A version of a ``subject``.

    ``catalogue_digest``: ``Catalogue.digest`` of the catalogue itself, or of the one that the model is for.
    ``files``: by plain file name; the files lie beside each other on a device.
    """

    subject: Subject
    version: int
    catalogue_digest: str
    files: Mapping[str, ManifestFile]

    def __post_init__(self) -> None:
        if self.subject not in get_args(Subject):
            raise ValueError(f"subject must be one of {', '.join(get_args(Subject))}")
        if type(self.version) is not int or not 1 <= self.version < 2**53:
            raise ValueError("version must be a whole number from 1")
        if not isinstance(self.catalogue_digest, str) or not _DIGEST.fullmatch(self.catalogue_digest):
            raise ValueError("catalogue_digest must be 64 hex digits")
        odd = [name for name in self.files if not _NAME.fullmatch(name)]
        if odd or not self.files:
            raise ValueError("files must have plain names of lower-case letters, digits, dot, dash and underscore")

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """Return the signed file of this manifest."""
        return sign_document(KIND, {**asdict(self), "files": {n: asdict(f) for n, f in self.files.items()}}, key)

    @classmethod
    def read(cls, content: bytes, signer: str, subject: Subject) -> Self:
        """Return the manifest of a signed file; ``SignatureError`` if it is not ``signer``'s, or says nonsense."""
        payload: dict[str, Any] = read_document(KIND, content, signer)
        try:
            files = {name: ManifestFile(**fields) for name, fields in payload.pop("files").items()}
            found = cls(**payload, files=files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SignatureError(f"the signed manifest of the {subject} is malformed: {error}") from error
        if found.subject != subject:
            raise SignatureError(f"the signed manifest is of a {found.subject}, not of a {subject}")
        return found
