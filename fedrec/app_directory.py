"""The app directory: where the three shells lie, and how they become importable.

In a checkout (and an editable install of it) that is the checkout itself; in an installed wheel it is
``fedrec/_app``. It goes first on ``sys.path``, exactly as Flower does with an app bundle, so that every module of the
shells has one import name everywhere.
"""

import sys
from pathlib import Path

import fedrec
from fedrec.errors import FedRecError

SHELLS = ("clients", "server", "simulations")


def find_app_directory(package: Path) -> Path:
    """Return the app directory of the ``fedrec`` package that lies at ``package``.

    Raises ``FedRecError`` where the shells lie neither inside the package nor beside it.
    """
    for folder in (package / "_app", package.parent):
        if all((folder / shell / "__init__.py").is_file() for shell in SHELLS):
            return folder
    raise FedRecError(
        f"{', '.join(SHELLS)} lie neither in {package / '_app'} nor beside {package}: "
        "install fedrec from its wheel, or run it from a checkout"
    )


def app_directory() -> Path:
    """Return the app directory of this installation."""
    return find_app_directory(Path(fedrec.__file__).resolve().parent)


def enter_app_directory() -> Path:
    """Put the app directory first on ``sys.path``, once, and return it."""
    folder = app_directory()
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    return folder
