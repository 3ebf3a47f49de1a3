"""Packages that only some users want: imported when they are used, with one clear error where they are missing."""

import importlib
from typing import Any

from fedrec.errors import ConfigError


def optional(package: str, *, extra: str, purpose: str) -> Any:
    """Import ``package`` (dotted) of fedrec's ``extra``; raise ``ConfigError`` naming the remedy where it is missing.

    ``purpose``: who needs it, as the sentence's subject: ``fedrec sweep``.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"{purpose} needs {package.split('.')[0]}: pip install 'fedrec[{extra}]'") from error
