"""Scenarios from TOML files and ``a.b=c`` overrides, with errors that name file, key and remedy."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fedrec.config.scenario import Scenario
from fedrec.errors import ConfigError
from fedrec.toml import read_toml

WITH_PRIVACY = "with_privacy"
"""A scenario file's table of settings that hold only where ``privacy.enabled``: a budget wants a smaller model."""
NO_FILE = "name a scenario's TOML file"


def load_scenario(path: Path, overrides: Iterable[str] = (), preset: Path | None = None) -> Scenario:
    """Read a TOML scenario and apply ``a.b=c`` overrides in order; raise ``ConfigError`` naming file and key.

    ``preset``: a TOML file of settings for private runs, laid over those of the scenario's ``with_privacy``.
    """
    above = read_toml(preset, missing=NO_FILE) if preset else {}
    return parse_scenario(read_toml(path, missing=NO_FILE), overrides, source=str(path), preset=above)


def parse_scenario(
    table: Mapping[str, Any],
    overrides: Iterable[str] = (),
    source: str = "scenario",
    preset: Mapping[str, Any] | None = None,
) -> Scenario:
    """Validate a table with ``a.b=c`` overrides; raise ``ConfigError`` naming ``source``, the key and a remedy.

    ``preset``: settings that are laid over the table and its ``with_privacy``, under the overrides.
    """
    settings = list(overrides)
    filled = _merged(table, settings)
    conditional = filled.pop(WITH_PRIVACY, {})
    private = filled.get("privacy", {}).get("enabled", True)
    if preset and not private:
        raise ConfigError(f"{source}: a preset is of a run under a budget: set privacy.enabled=true, or leave it out")
    if private and (conditional or preset):
        filled = _laid_over(_laid_over(filled, conditional), dict(preset or {}))
        filled = _merged(filled, settings)  # again: what was set by hand wins
    try:
        return Scenario.model_validate(filled)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error


def _merged(table: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    filled: dict[str, Any] = json.loads(json.dumps(table, default=str))
    for override in overrides:
        _set(filled, override)
    return filled


def _laid_over(table: dict[str, Any], upper: Any) -> dict[str, Any]:
    """Return ``table`` with ``upper``'s values in place of its own, section by section."""
    if not isinstance(upper, dict):
        raise ConfigError(f"{WITH_PRIVACY} must be a table of sections, got {upper!r}")
    result = dict(table)
    for key, value in upper.items():
        below = result.get(key)
        result[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _set(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not of the form section.key=value")
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {section!r} is a value, not a section")
        table = inner
    table[last] = _value(text)


def _value(text: str) -> Any:
    """Read the right side as TOML where it is TOML, else as the bare string that a shell user meant."""
    if text.strip().lower() in {"none", "null"}:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}; did you mean {_nearest(location)!r}?"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{source}: {key}: {message} (got {first['input']!r})" if key else f"{source}: {message}"


def known_keys() -> list[str]:
    """Return every dotted key that a scenario may hold."""
    return list(known_settings())


def known_settings() -> dict[str, FieldInfo]:
    """Return what a scenario may hold: the field behind every dotted key."""
    return _fields_of(Scenario, "")


def _fields_of(section: type[BaseModel], prefix: str) -> dict[str, FieldInfo]:
    fields: dict[str, FieldInfo] = {}
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        fields |= _fields_of(inner, f"{prefix}{name}.") if inner else {f"{prefix}{name}": field}
    return fields


def _section_of(annotation: Any) -> type[BaseModel] | None:
    options = getattr(annotation, "__args__", None) or (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _nearest(location: list[str]) -> str:
    keys = known_keys()
    asked = ".".join(location)
    same_leaf = [key for key in keys if key.rsplit(".", 1)[-1] == location[-1]]
    close = difflib.get_close_matches(asked, keys, n=1, cutoff=0.5)
    return (same_leaf or close or difflib.get_close_matches(location[0], keys, n=1, cutoff=0) or keys)[0]
