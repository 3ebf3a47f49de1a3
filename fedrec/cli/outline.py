"""The command line as a table, so that a shell can complete it without waiting for torch.

``fedrec.cli.outlining`` writes the table, ``outline.json``; completing reads that file alone.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

FILE = Path(__file__).with_name("outline.json")
SUGGESTED = {"scenario": "scenarios", "preset": "presets", "overrides": "settings"}
"""By a parameter's name, the list of the table that its values come from."""
NAMED_DATA = ("name", "source")
"""Arguments that name a data set."""


def outlined(name: str) -> click.Command:
    """Return a command that is fit to be completed and does nothing, from the table."""
    table = json.loads(FILE.read_text(encoding="utf-8"))
    return _outlined(name, table["commands"][name], table)


def _outlined(name: str, entry: Mapping[str, Any], table: Mapping[str, Any]) -> click.Command:
    parameters = [_made(parameter, table) for parameter in entry["parameters"]]
    if "commands" not in entry:
        return click.Command(name, params=parameters, help=entry["help"])
    inner = [_outlined(own, below, table) for own, below in entry["commands"].items()]
    return click.Group(name, commands=inner, params=parameters, help=entry["help"])


def _made(entry: Mapping[str, Any], table: Mapping[str, Any]) -> click.Parameter:
    given: dict[str, Any] = {"shell_complete": _completing(entry, table)}
    if "opts" in entry:
        how = {"is_flag": True} if entry["flag"] else {"multiple": entry["many"], **given}
        return click.Option([entry["opts"]], help=entry["help"], **how)
    return click.Argument([entry["name"]], nargs=-1 if entry["many"] else 1, required=False, **given)


def _completing(
    entry: Mapping[str, Any], table: Mapping[str, Any]
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        listed = "data_sets" if isinstance(parameter, click.Argument) and entry["name"] in NAMED_DATA else ""
        known = table.get(SUGGESTED.get(entry["name"], listed), entry.get("choices", []))
        words = _settings(known, begun) if isinstance(known, Mapping) else known
        return [word for word in words if word.startswith(begun)]

    return complete


def _settings(known: Mapping[str, list[str]], begun: str) -> list[str]:
    """Return ``key=`` for every key that so begins; where it is one alone, with its values, so that no blank follows.

    A shell puts a blank behind what it takes for the end of a word.
    """
    fitting = [key for key in known if f"{key}=".startswith(begun) or begun.startswith(f"{key}=")]
    if len(fitting) != 1:
        return [f"{key}=" for key in fitting]
    (key,) = fitting
    return [f"{key}=", *(f"{key}={value}" for value in known[key])]
