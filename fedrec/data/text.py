"""Text of items to vectors: once, where the catalogue is built, never on a device.

An encoder is anything with a name and an ``encode``. The default needs no package beside NumPy; ``minilm`` is a
sentence encoder of fedrec's extra ``text`` (``fedrec.data.sentences``).
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fedrec.config import TextEncoderName

WORD = re.compile(r"\w+")

HASHED_WIDTH = 256
"""Width of hashed vectors: wide enough that the words of a few thousand titles rarely meet."""


class TextEncoder(Protocol):
    """What makes vectors of texts."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector a text, float32 ``[num_texts, width]``, of length 1, or 0 where there is nothing to say."""
        ...


class HashingEncoder:
    """Words and pairs of neighbouring words, weighted by rarity among the texts (TF-IDF), in hashed columns.

    Signed feature hashing (Weinberger et al., 2009): a term's column and sign are bits of its CRC-32, so that vectors
    depend on the texts alone and no vocabulary is kept. A term in one text only tells it from no other and is left out.
    """

    def __init__(self, width: int = HASHED_WIDTH) -> None:
        self._width = width

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 ``[num_texts, width]``, rows of length 1, or 0 for a text without a term of others."""
        terms = [_terms(text) for text in texts]
        found: dict[str, int] = {}
        for own in terms:
            for term in set(own):
                found[term] = found.get(term, 0) + 1
        vectors = np.zeros((len(texts), self._width))
        for row, own in zip(vectors, terms, strict=True):
            for term in own:
                if found[term] > 1:
                    bits = crc32(term.encode())
                    row[(bits >> 1) % self._width] += (1 - 2 * (bits & 1)) * np.log(len(texts) / found[term])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return unit


def _terms(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [*words, *(f"{left} {right}" for left, right in pairwise(words))]


def _minilm() -> TextEncoder:
    from fedrec.data.sentences import SentenceEncoder  # its packages are an extra's

    return SentenceEncoder()


TEXT_ENCODERS: dict[TextEncoderName, Callable[[], TextEncoder]] = {"hashing": HashingEncoder, "minilm": _minilm}
