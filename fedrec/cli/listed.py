"""Options that take several values, with commas between them: the one way in which benches are given lists."""

from fedrec.errors import ConfigError


def names(text: str) -> list[str]:
    """Return the names in ``A,B,...``, none in an empty text."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_numbers(text: str, option: str, *, least: int = 0) -> list[int]:
    """Return the numbers in ``0,1,2``, at least one. Raises ``ConfigError`` that names ``option``."""
    found = [int(word) if word.isdecimal() else -1 for word in names(text)]
    if not found or min(found) < least:
        raise ConfigError(f"{option} takes whole numbers from {least} on with commas between them, not {text!r}")
    return found


def shares(text: str, option: str) -> list[float]:
    """Return the numbers in ``0.01,0.1``, each above 0 and at most 1. Raises ``ConfigError`` that names ``option``."""
    try:
        found = [float(word) for word in names(text)]
    except ValueError:
        found = []
    if not found or not all(0 < share <= 1 for share in found):
        raise ConfigError(f"{option} takes shares above 0 and up to 1 with commas between them, not {text!r}")
    return found
