"""The command that is running, as it can be typed again: for records that say how they were made."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

ELSEWHERE = frozenset({"as_json", "out", "page", "profile", "store"})
"""Parameters that say where results go and change none."""


def typed_command() -> str:
    """Return the running command with what was typed of its arguments, each once; of files their names alone."""
    context = click.get_current_context()
    names = [found.info_name or "" for found in _chain(context)]
    given = [
        word
        for parameter in context.command.params
        if parameter.name not in ELSEWHERE
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        for word in _words(parameter, context.params[str(parameter.name)])
    ]
    return shlex.join(["fedrec", *names[1:], *given])


def _chain(context: click.Context) -> list[click.Context]:
    above = _chain(context.parent) if context.parent else []
    return [*above, context]


def _words(parameter: click.Parameter, value: Any) -> Iterator[str]:
    values = value if isinstance(value, list | tuple) else [value]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        yield (parameter.opts if value else parameter.secondary_opts)[0]
        return
    for one in values:
        if isinstance(parameter, click.Option):
            yield parameter.opts[0]
        yield Path(one).name if isinstance(parameter.type, click.Path) else str(one)
