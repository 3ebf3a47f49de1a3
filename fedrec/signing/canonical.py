"""The bytes that are signed: one form for one value, with the kind of the document in front."""

import json
from collections.abc import Mapping
from typing import Any


def canonical_bytes(kind: str, payload: Mapping[str, Any]) -> bytes:
    """Return what a signature of a document of this ``kind`` is over.

    The kind stands in front, so that no signature on one kind of document is one on another. ``payload``: JSON values
    without NaN or infinity; keys are sorted, nothing is escaped but what JSON must, no spaces.
    """
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"fedrec/{kind}/1\n{text}".encode()
