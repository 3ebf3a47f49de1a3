"""The page on what a scenario may hold, from its typed sections."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from documents.tables import cell, generated, table
from documents.typed_fields import default, meanings, takes
from fedrec.config import Scenario

_INTRO = """\
A scenario is a TOML file; these are its tables and keys. `--set TABLE.KEY=VALUE` overrides one on the command line, an
unknown key is refused with the nearest valid one, and a run's `config.toml` holds all of them as they were. A key
without a default has no value where it is left out (`none` on the command line). A file's table `with_privacy` holds
settings of the same form that hold only where `privacy.enabled`."""


def page() -> str:
    """Return ``docs/reference/scenario.md``."""
    return "\n".join([generated("Scenario keys", _INTRO), *(_section(*found) for found in _tables(Scenario, ""))])


def without_meaning() -> list[str]:
    """Return the keys below which no string says what they mean."""
    return [
        f"{path}.{name}"
        for path, section in _tables(Scenario, "")
        for name in _values(section)
        if not meanings(section).get(name)
    ]


def _section(path: str, section: type[BaseModel]) -> str:
    said = meanings(section)
    rows = [
        (f"`{name}`", takes(field), default(field), cell(said.get(name, "")))
        for name, field in _values(section).items()
    ]
    introduction = cleandoc(section.__doc__ or "").replace("``", "`")
    return f"## {path}\n\n{introduction}\n\n" + table(("key", "takes", "default", "meaning"), rows)


def _tables(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the tables of a section with their paths, outer ones first."""
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner:
            below = f"{path}.{name}" if path else name
            yield below, inner
            yield from _tables(inner, below)


def _values(section: type[BaseModel]) -> dict[str, FieldInfo]:
    return {name: field for name, field in section.model_fields.items() if _section_of(field) is None}


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    options = get_args(field.annotation) or (field.annotation,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)
