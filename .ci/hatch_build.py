"""Carry the three shells inside a built wheel as an app directory, ``fedrec/_app``.

Only a standard wheel gets it: in an editable install the checkout itself is the app directory, and a forced copy
would shadow it. ``fedrec.cli`` puts the app directory first on ``sys.path``, as Flower does with a bundle.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHELLS = ("clients", "server", "simulations")


class AppDirectoryHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's config type is not public
    """Map each shell into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the shells' files unless the build is editable."""
        if version != "standard":
            return
        for shell in SHELLS:
            for path in sorted(Path(self.root, shell).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    build_data["force_include"][str(path)] = f"fedrec/_app/{path.relative_to(self.root)}"
