"""The page on the command line, from the commands themselves."""

import re
from collections.abc import Iterator

import click

from documents.tables import cell, generated, table
from fedrec.cli.main import COMMANDS

_INTRO = """\
Every command with its arguments, its options and their defaults, as `fedrec COMMAND --help` tells them. What holds for
all of them, exit codes among it, is in [the command line](../cli.md)."""


def page() -> str:
    """Return ``docs/reference/cli.md``."""
    parts = [generated("Commands and options", _INTRO)]
    for lazy in COMMANDS:
        for path, command in _commands(lazy.load(), f"fedrec {lazy.name}"):
            parts.append(_section(path, command))
    return "\n".join(parts)


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and those below it, hidden ones left out: they are what a command starts as another process."""
    if command.hidden:
        return
    yield path, command
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(below, f"{path} {name}")


def _section(path: str, command: click.Command) -> str:
    depth = "##" if path.count(" ") == 1 else "###"
    head = f"{depth} {path}\n\n{_sentences(command.help or '')}\n"
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    if not shown:
        return head
    usage = " ".join([path, *command.collect_usage_pieces(click.Context(command, info_name=path))])
    rows = [(_names(p), _takes(p), _default(p), cell(getattr(p, "help", "") or "")) for p in shown]
    return f"{head}\n```text\n{usage}\n```\n\n{table(('option', 'takes', 'default', 'meaning'), rows)}"


def _sentences(text: str) -> str:
    """Return a docstring with its paragraphs, rich's marks left out."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.replace("\f", "")))


def _names(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return f"`{parameter.make_metavar(click.Context(click.Command('')))}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _takes(parameter: click.Parameter) -> str:
    kind = parameter.type
    words = {"integer": "a whole number", "float": "a number", "text": "text", "path": "a path", "file": "a path"}
    if getattr(parameter, "is_flag", False):
        return ""
    if isinstance(kind, click.Choice):
        taken = " or ".join(f"`{choice}`" for choice in kind.choices)
    elif isinstance(kind, click.IntRange | click.FloatRange):
        taken = words["integer" if isinstance(kind, click.IntRange) else "float"] + _between(kind.min, kind.max)
    else:
        taken = words.get(kind.name, kind.name)
    repeated = getattr(parameter, "multiple", False)
    return f"{taken}; may be repeated" if repeated else taken


def _between(low: float | None, high: float | None) -> str:
    bounds = [f"{low} or more" if low is not None else "", f"{high} or less" if high is not None else ""]
    said = ", ".join(bound for bound in bounds if bound)
    return f", {said}" if said else ""


def _default(parameter: click.Parameter) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if isinstance(value, bool):
        return _flag(parameter, value)
    if value is None or value == () or value == [] or callable(value) or "UNSET" in repr(value):
        return ""
    if isinstance(value, list | tuple):
        return cell(", ".join(f"`{item}`" for item in value))
    return f"`{getattr(value, 'value', value)}`" if value != "" else ""


def _flag(parameter: click.Parameter, value: bool) -> str:
    if not parameter.secondary_opts:
        return ""
    return f"`{(parameter.opts if value else parameter.secondary_opts)[0]}`"
