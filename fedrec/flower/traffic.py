"""What a message weighs on Flower's wire, by arithmetic: tensors are neither serialised nor hashed.

Flower moves a message as objects named by the SHA-256 of their content: the message, its records, each array's
description, and the arrays' data in chunks. Equal objects of a message travel once. ``wire_bytes`` counts the bytes of
these objects. It leaves out what carries them: protobuf requests and HTTP, some 300 bytes an object.
"""

import json
from collections.abc import Iterable
from functools import lru_cache

from flwr.app import Array, ArrayRecord, Message

from fedrec.flower.identity import MAX_CHUNK_BYTES, deflated_bytes, envelope_bytes

_ID = "0" * 64
"""Stands for an object's id: 64 hexadecimal digits."""


def wire_bytes(message: Message) -> int:
    """Return the bytes of the objects that a message is moved as; of one that reports an error, its envelope's."""
    if not message.has_content():
        return _object_bytes(Message, 0, envelope_bytes(message))
    records = message.content
    single = [record for record in records.values() if not isinstance(record, ArrayRecord)]
    sizes = [deflated_bytes(record) for record in single]
    arrays = [record for record in records.values() if isinstance(record, ArrayRecord)]
    content = _object_bytes(type(records), len(records), _index_bytes(tuple(records)))
    return _object_bytes(Message, 1, envelope_bytes(message)) + content + sum(sizes) + _arrays_bytes(arrays)


def _arrays_bytes(records: Iterable[ArrayRecord]) -> int:
    """Return the bytes of array records with all below them, chunks and descriptions that are equal counted once."""
    total, chunks, described = 0, _Chunks(), set[tuple[object, ...]]()
    for record in records:
        own = set()
        for array in record.values():
            numbers = [chunks.number(chunk) for chunk in _chunks(array)]
            places = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
            key = (array.dtype, array.shape, array.stype, tuple(numbers))
            own.add(key)
            if key not in described:
                described.add(key)
                order = tuple(places[number] for number in numbers)
                body = _description_bytes(array.dtype, tuple(array.shape), array.stype, order)
                total += _object_bytes(Array, len(places), body)
        total += _object_bytes(ArrayRecord, len(own), _index_bytes(tuple(record)))
    return total + chunks.bytes


@lru_cache(maxsize=4096)
def _description_bytes(dtype: str, shape: tuple[int, ...], stype: str, chunks: tuple[int, ...]) -> int:
    return len(json.dumps({"dtype": dtype, "shape": shape, "stype": stype, "arraychunk_ids": chunks}))


@lru_cache(maxsize=64)
def _index_bytes(names: tuple[str, ...]) -> int:
    """Return the length of the names of children with their ids."""
    return len(json.dumps(dict.fromkeys(names, _ID)))


def _chunks(array: Array) -> list[bytes]:
    if len(array.data) <= MAX_CHUNK_BYTES:
        return [array.data] if array.data else []
    return [array.data[at : at + MAX_CHUNK_BYTES] for at in range(0, len(array.data), MAX_CHUNK_BYTES)]


class _Chunks:
    """Numbers distinct chunks. Only chunks of one length are compared, which mostly ends at the first odd byte."""

    def __init__(self) -> None:
        self.bytes = 0
        self._by_length: dict[int, list[tuple[bytes, int]]] = {}
        self._count = 0

    def number(self, chunk: bytes) -> int:
        known = self._by_length.setdefault(len(chunk), [])
        for content, number in known:
            if content == chunk:
                return number
        known.append((chunk, self._count))
        self._count += 1
        self.bytes += _head_bytes("ArrayChunk", 0, len(chunk)) + len(chunk)
        return self._count - 1


def _object_bytes(kind: type, children: int, body: int) -> int:
    return _head_bytes(kind.__qualname__, children, body) + body


def _head_bytes(kind: str, children: int, body: int) -> int:
    """Return the length of ``kind id,id,... length`` and the byte that ends it."""
    ids = max(children * (len(_ID) + 1) - 1, 0)
    return len(kind) + 1 + ids + 1 + len(str(body)) + 1
