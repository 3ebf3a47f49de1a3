"""Writing the table that shells complete commands by, from the commands as they are: ``make completion``.

Imports every command; a test holds what is written to them.
"""

import json
from collections.abc import Iterable
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import click

from fedrec.cli.main import COMMANDS
from fedrec.cli.outline import FILE
from fedrec.config.named import preset_names, scenario_names
from fedrec.config.reading import known_settings
from fedrec.data.recipes import RECIPES


def outline() -> dict[str, Any]:
    """Return the table: commands with their parameters, and the names that parameters take."""
    return {
        "commands": {str(command.name): _command(command.load()) for command in COMMANDS},
        "scenarios": scenario_names(),
        "presets": preset_names(),
        "data_sets": sorted(RECIPES),
        "settings": {key: values_of(field.annotation, field.default) for key, field in known_settings().items()},
    }


def _command(command: click.Command) -> dict[str, Any]:
    found: dict[str, Any] = {"help": command.get_short_help_str(limit=100), "parameters": []}
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            found["parameters"].append(_parameter(parameter))
    if isinstance(command, click.Group):
        shown = {name: inner for name, inner in command.commands.items() if not inner.hidden}
        found["commands"] = {name: _command(inner) for name, inner in shown.items()}
    return found


def _parameter(parameter: click.Parameter) -> dict[str, Any]:
    found: dict[str, Any] = {"name": parameter.name, "many": parameter.multiple or parameter.nargs == -1}
    if isinstance(parameter, click.Option):
        found["opts"] = "/".join(filter(None, (parameter.opts[0], *parameter.secondary_opts[:1])))
        found["flag"] = parameter.is_flag
        found["help"] = (parameter.help or "").split("\n")[0]
    if isinstance(parameter.type, click.Choice):
        found["choices"] = [_word(choice) for choice in parameter.type.choices]
    return found


def _word(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def values_of(annotation: Any, default: Any) -> list[str]:
    """Return the words that a setting of this type may be set to, as far as they are few; the default among them."""
    words = list(dict.fromkeys(_words(annotation)))
    if isinstance(default, bool):
        return words
    usual = _word(default)
    if isinstance(default, str | int | float) and usual and usual not in words and " " not in usual:
        words.insert(0, usual)
    return words


def _words(annotation: Any) -> Iterable[str]:
    if annotation is bool:
        return ["true", "false"]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [_word(member) for member in annotation]
    if get_origin(annotation) is Literal:
        return [_word(value) for value in get_args(annotation)]
    if get_origin(annotation) in (tuple, list, dict):  # a list wants quotes, which a shell takes for its own
        return []
    return [word for inner in get_args(annotation) for word in _words(inner)]


def main() -> None:
    """Write the table."""
    FILE.write_text(json.dumps(outline(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
