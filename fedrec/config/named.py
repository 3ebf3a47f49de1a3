"""Scenarios and presets by name: the ones that this installation carries, or a file of one's own."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from fedrec.app_directory import app_directory
from fedrec.config.reading import load_scenario
from fedrec.config.scenario import Scenario
from fedrec.errors import ConfigError


def read_scenario(name_or_file: str, overrides: Sequence[str], preset: str | None = None) -> Scenario:
    """Read a scenario by name (``ml-100k``) or as a file (``./mine.toml``) and apply ``a.b=c`` overrides.

    ``preset``: settings for a privacy budget, by name (``epsilon-4``) or as a file; overrides win over them. Raises
    ``ConfigError`` with the nearest name and all names where there is no such scenario or preset.
    """
    above = _file_of("preset", preset, _preset_folder()) if preset else None
    return load_scenario(_file_of("scenario", name_or_file, _scenario_folder()), overrides, above)


def scenario_names() -> list[str]:
    """Return the names of the scenarios that this installation carries."""
    return _names(_scenario_folder())


def preset_names() -> list[str]:
    """Return the names of the presets that this installation carries."""
    return _names(_preset_folder())


def _scenario_folder() -> Path:
    return app_directory() / "simulations" / "scenarios"


def _preset_folder() -> Path:
    return _scenario_folder() / "presets"


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml"))


def _file_of(kind: str, name_or_file: str, folder: Path) -> Path:
    if name_or_file.endswith(".toml") or len(Path(name_or_file).parts) != 1:
        return Path(name_or_file)
    names = _names(folder)
    if name_or_file in names:
        return folder / f"{name_or_file}.toml"
    near = difflib.get_close_matches(name_or_file, names, n=1, cutoff=0)
    raise ConfigError(
        f"unknown {kind} {name_or_file!r}; did you mean {''.join(near)!r}? Known: {', '.join(names)}; "
        "a file of your own must end in .toml"
    )
