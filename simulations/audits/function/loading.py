"""From ``MODULE:CALLABLE`` to the object, or one sentence on what is missing."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from fedrec.errors import ConfigError, FedRecError
from simulations.audits.function.subject import Aggregator, Training

SIGNATURE = "(updates, rng) -> mapping of names to arrays"


def load_subject(path: str) -> Aggregator | Training:
    """Return the aggregator or the ``Training`` that ``MODULE:CALLABLE`` names.

    ``MODULE``: dotted, looked for in the working directory too. ``CALLABLE``: an attribute of it. Raises
    ``ConfigError`` if the module is not found or cannot be imported, the attribute is missing, or it does not take
    ``(updates, rng)``.
    """
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(f"{path!r} must be MODULE:CALLABLE, such as mypackage.aggregation:clipped_mean")
    subject = _import(module_name)
    for part in attribute.split("."):
        if not hasattr(subject, part):
            raise ConfigError(f"module {module_name!r} has no attribute {attribute!r}: check the name after the colon")
        subject = getattr(subject, part)
    return checked_subject(subject, path)


def checked_subject(subject: object, path: str) -> Aggregator | Training:
    """Return the subject if it can be called as it must; raises ``ConfigError`` naming ``path``."""
    if isinstance(subject, Training):
        return subject
    if not callable(subject):
        raise ConfigError(f"{path} is {type(subject).__name__}: give a callable {SIGNATURE}, or a Training")
    if isinstance(subject, type):
        if not _takes(subject, 0):
            raise ConfigError(f"class {path} must be made without arguments: each run of rounds gets a new instance")
        if not _takes(subject.__call__, 3):
            raise ConfigError(f"instances of class {path} must be called as {SIGNATURE}")
    elif not _takes(subject, 2):
        raise ConfigError(f"{path} takes {_parameters(subject)}, it must be called as {SIGNATURE}")
    return subject


def _import(name: str) -> object:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"module {name!r} was not found: run from its folder, or install it") from error
        raise ConfigError(f"module {name!r} needs {error.name!r}, which is not installed") from error
    except FedRecError:
        raise
    except (
        Exception,
        SystemExit,
    ) as error:  # anything may happen in other people's modules, and must be told in one line
        raise ConfigError(f"module {name!r} could not be imported: {type(error).__name__}: {error}") from error
    finally:
        if added:
            sys.path.remove(here)


def _parameters(function: Callable[..., object]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "parameters that it does not tell"


def _takes(function: object, positional: int) -> bool:
    try:
        inspect.signature(function).bind(*range(positional))  # type: ignore[arg-type]  # callable by what was asked
    except (TypeError, ValueError):
        return False
    return True
