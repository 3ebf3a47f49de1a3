"""What a search may vary: dotted scenario keys with ranges or choices, read from a TOML file and checked at once."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedrec.config import Scenario, parse_scenario
from fedrec.errors import ConfigError
from fedrec.toml import read_toml

FIXED = ("audit.", "data.", "evaluation.", "federation.", "run.", "selection.")
FIXED_KEYS = ("privacy.enabled", "privacy.epsilon", "privacy.delta", "privacy.noise_seed", "privacy.tuning")
FREE = ("federation.codec.",)
"""Keys below ``FIXED`` and in ``FIXED_KEYS``, but for those below ``FREE``, say what is measured or promised."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from ``low`` to ``high``, both possible. ``log``: even by logarithm. ``whole``: integers alone."""

    key: str
    low: float
    high: float
    log: bool
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Values of any kind that a scenario may hold, lists included."""

    key: str
    values: tuple[Any, ...]


Parameter = Range | Choices
Space = tuple[Parameter, ...]


def read_space(path: Path, scenario: Scenario) -> Space:
    """Read ``key = {low, high, log}`` and ``key = {choices}``, each key in one piece or as nested tables.

    Raises ``ConfigError`` naming file and key for an unknown key (with the nearest known one), for one that a search
    must leave alone, and for a value that ``scenario`` could not have.
    """
    table = read_toml(path, missing="name the search's space file")
    space = tuple(_parameter(key, given, scenario, path) for key, given in _leaves(table, ""))
    if not space:
        raise ConfigError(f"{path} names no key to search: give at least one, as key = {{low = 0.01, high = 0.1}}")
    return space


def with_values(scenario: Scenario, values: Mapping[str, Any], source: str = "scenario") -> Scenario:
    """Return the scenario with these values by dotted key; ``ConfigError`` where they do not fit together."""
    table = scenario.model_dump(mode="json")
    for key, value in values.items():
        *sections, last = key.split(".")
        inner = table
        for section in sections:
            inner[section] = inner.get(section) or {}
            inner = inner[section]
        inner[last] = value
    return parse_scenario(table, source=source)


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and not {"low", "high", "choices"} & set(value):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _parameter(key: str, given: Any, scenario: Scenario, path: Path) -> Parameter:
    if not isinstance(given, Mapping) or set(given) not in ({"low", "high"}, {"low", "high", "log"}, {"choices"}):
        raise ConfigError(f"{path}: {key} must be {{low, high}}, {{low, high, log}} or {{choices}}, got {given!r}")
    _refuse_fixed(key, path)
    if "choices" in given:
        return _choices(key, given["choices"], scenario, path)
    return _range(key, given, scenario, path)


def _refuse_fixed(key: str, path: Path) -> None:
    if (key.startswith(FIXED) and not key.startswith(FREE)) or key in FIXED_KEYS:
        raise ConfigError(
            f"{path}: {key} says what is measured or promised, not how it is learned, and a search over it would "
            "compare what cannot be compared: leave it out, or set it with --set"
        )


def _choices(key: str, values: Any, scenario: Scenario, path: Path) -> Choices:
    if not isinstance(values, list) or not values or len({json.dumps(value) for value in values}) != len(values):
        raise ConfigError(f"{path}: {key}: choices must be a list of different values, got {values!r}")
    for value in values:
        _accepted(key, value, scenario, path)
    return Choices(key=key, values=tuple(values))


def _range(key: str, given: Mapping[str, Any], scenario: Scenario, path: Path) -> Range:
    low, high, log = given["low"], given["high"], given.get("log", False)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or not isinstance(log, bool) or (log and low <= 0):
        raise ConfigError(f"{path}: {key} needs numbers low < high, with log = true both above 0, got {dict(given)!r}")
    kinds = {type(_accepted(key, end, scenario, path)) for end in (low, high)}
    if not kinds <= {int, float}:
        raise ConfigError(f"{path}: {key} is no number: give choices instead of low and high")
    return Range(key=key, low=low, high=high, log=log, whole=float not in kinds)


def _accepted(key: str, value: Any, scenario: Scenario, path: Path) -> Any:
    """Return what the scenario makes of a value; raise unless it takes it or only objects to the combination."""
    try:
        found: Any = with_values(scenario, {key: value}, source=str(path))
    except ConfigError as error:
        if _is_about(key, error):
            raise
        return value
    for part in key.split("."):
        found = getattr(found, part)
    return found


def _is_about(key: str, error: ConfigError) -> bool:
    """Return whether the key itself or its value is wrong, rather than how it goes with others."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return True
    first = cause.errors()[0]
    location = ".".join(map(str, first["loc"])) + "."
    return first["type"] == "extra_forbidden" or location.startswith(f"{key}.")
