"""What a typed class says of its fields: what each takes, its default, and the string below it."""

import ast
import inspect
import json
import textwrap
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from documents.tables import cell

_WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    bool: ("`true` or `false`", "`true` or `false`"),
}


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """Return the strings that stand below a class's fields, by field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def takes(field: FieldInfo) -> str:
    """Return in words what a field takes, with its bounds; None is not said, see ``default``."""
    return cell(_type(field.annotation, tuple(field.metadata)))


def default(field: FieldInfo) -> str:
    """Return a field's default as TOML and JSON write it; empty for None and where there is none."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if value == () and get_origin(_first(field.annotation)) is tuple:  # pairs of a name and a number: a table
        return "`{}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _first(annotation: Any) -> Any:
    return next(iter(get_args(annotation)), None)


def _type(annotation: Any, bounds: tuple[Any, ...] = (), many: bool = False) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], (*arguments[1:], *bounds), many)
    if origin is Literal:
        return _either([f"`{json.dumps(choice)}`" for choice in arguments])
    if origin in (Union, UnionType):
        return _either([_type(option, bounds, many) for option in arguments if option is not NoneType])
    if origin is tuple:
        return _tuple(arguments, bounds, "lists" if many else "a list")
    if origin is dict:
        return f"{'objects' if many else 'an object'} of {_type(arguments[1], (), True)}"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return _either([f"`{json.dumps(choice.value)}`" for choice in annotation])
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"`{annotation.__name__}`"
    return _WORDS[annotation][many] + _bounds(bounds)


def _either(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _tuple(arguments: tuple[Any, ...], bounds: tuple[Any, ...], lists: str) -> str:
    first = arguments[0]
    if arguments[-1] is not Ellipsis:
        same = len(set(arguments)) == 1
        return f"{lists} of {len(arguments)} {_type(first, (), True)}" if same else _mixed(arguments, lists)
    if get_origin(first) is tuple and get_origin(get_args(first)[0]) is not None:  # pairs of a name and a number
        name, number = get_args(first)
        return f"a table of numbers{_bounds(get_args(number)[1:])}, by {_type(name)}"
    return f"{lists} of {_type(first, bounds, True)}"


def _mixed(arguments: tuple[Any, ...], lists: str) -> str:
    return f"{lists} of {' and '.join(_type(kind) for kind in arguments)}"


def _bounds(metadata: tuple[Any, ...]) -> str:
    said = []
    for entry in metadata:
        for bound in getattr(entry, "metadata", [entry]):
            match bound:
                case Ge(ge=low):
                    said.append(f"{low} or more")
                case Gt(gt=low):
                    said.append(f"above {low}")
                case Le(le=high):
                    said.append(f"{high} or less")
                case Lt(lt=high):
                    said.append(f"below {high}")
    return f", {', '.join(said)}" if said else ""
