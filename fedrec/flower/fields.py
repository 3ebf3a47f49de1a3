"""Records of a message and fields of a record: read strictly, by name and type, and in one version of the messages.

A missing, surplus or odd field raises ``ProtocolError`` with its name; a message of another version raises
``UpgradeRequiredError``, for which a node and a server have an answer of their own.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Message
from pydantic import BaseModel, ValidationError

from fedrec.errors import ProtocolError, UpgradeRequiredError

VERSION = 2
"""Of the messages. A node and a server that differ in it tell each other so."""

MAX_TEXT = 4096
"""Characters of text from outside that are kept."""

Section = TypeVar("Section", bound=BaseModel)


def holds(message: Message, name: str) -> bool:
    """Return whether a message has a record of this name."""
    return message.has_content() and name in message.content


def records_of(message: Message, expected: Mapping[str, type]) -> dict[str, Any]:
    """Return a message's records if it has exactly the expected ones, each of its kind."""
    if not message.has_content():
        raise ProtocolError(f"the message holds no records, expected {', '.join(expected)}")
    content = dict(message.content)
    for name in sorted(set(content) | set(expected)):
        if name not in content or name not in expected or not isinstance(content[name], expected[name]):
            verb = "missing" if name not in content else "surplus" if name not in expected else "of the wrong kind"
            raise ProtocolError(f"record {printable(name)!r} is {verb}")
    return content


def fields_of(record: ConfigRecord, expected: Mapping[str, type], where: str) -> dict[str, Any]:
    """Return a record's values if it has exactly the expected fields of exactly the expected types."""
    values = dict(record)
    version = values.get("version")
    if "version" in expected and type(version) is int and version != VERSION:
        side = "this one" if version > VERSION else "the other side"
        raise UpgradeRequiredError(
            f"field 'version' of {where!r} is {version}, this fedrec speaks {VERSION}: upgrade fedrec on {side}"
        )
    for name in sorted(set(values) | set(expected)):
        if name not in values:
            raise ProtocolError(f"field {name!r} of {where!r} is missing")
        if name not in expected:
            raise ProtocolError(f"field {printable(name)!r} of {where!r} is surplus")
        if type(values[name]) is not expected[name]:
            raise ProtocolError(f"field {name!r} of {where!r} must be {expected[name].__name__}")
    return values


def match(values: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    """Return a text that matches a pattern whole."""
    text: str = values[name]
    if not pattern.fullmatch(text):
        raise ProtocolError(f"field {name!r} is {printable(text)!r}, which does not match {pattern.pattern}")
    return text


def count(values: Mapping[str, Any], name: str) -> int:
    """Return a number of things."""
    number: int = values[name]
    if not 0 <= number < 2**31:
        raise ProtocolError(f"field {name!r} must be in [0, 2^31), got {number}")
    return number


def section_of(section: type[Section], values: Mapping[str, Any], name: str) -> Section:
    """Return a section of settings that travels as JSON."""
    try:
        return section.model_validate_json(values[name], strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join([name, *map(str, first["loc"])])
        raise ProtocolError(f"field {printable(key)!r}: {first['msg']}") from error


def printable(text: str) -> str:
    """Return text from outside in a form that is fit for one line of a log."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_TEXT])
