"""Made-up wheels and a bundle of them: the installer at work without an index."""

import ensurepip
import hashlib
import json
import platform
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.edge.bundle import BILL, INSTALLER, REQUIREMENTS, Bundle
from clients.edge.wheelhouse import write_installer
from clients.edge.wheels import Wheel

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
UNITS = Path(__file__).resolve().parents[3] / "clients" / "edge" / "systemd"


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str], *metadata: str) -> Path:
    """Write a wheel of pure Python and return its path."""
    info = f"{name}-{version}.dist-info"
    content = dict(files)
    content[f"{info}/METADATA"] = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
    )
    content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in content.items():
            archive.writestr(member, text)
    return path


@pytest.fixture
def wheel(tmp_path) -> Callable[..., Path]:
    folder = tmp_path / "made"
    folder.mkdir()
    return lambda *arguments: make_wheel(folder, *arguments)


@pytest.fixture
def bundled(tmp_path) -> Callable[..., Path]:
    """Return a bundle of a made-up fedrec whose self-test is ``body``."""
    pip = next((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"), None)
    if pip is None:
        pytest.skip("this Python carries no pip")

    def make(version: str = "1.0", body: str = "", **head: object) -> Path:
        folder = tmp_path / f"bundle-{version}-{hashlib.sha256(body.encode()).hexdigest()[:4]}"
        wheels = folder / "wheels"
        wheels.mkdir(parents=True)
        shutil.copy2(pip, wheels)
        main = "def main() -> None:\n" + "".join(f"    {line}\n" for line in [*body.splitlines(), "pass"])
        files = {
            "fedrec/__init__.py": f"__version__ = {version!r}\n",
            "fedrec/cli/__init__.py": "",
            "fedrec/app_directory.py": "def enter_app_directory() -> None:\n    pass\n",
            "clients/__init__.py": "",
            "clients/edge/__init__.py": "",
            "clients/edge/own_trial.py": main,
        }
        made = make_wheel(wheels, "fedrec", version, files)
        (folder / REQUIREMENTS).write_text(f"fedrec=={version} --hash=sha256:{Wheel.read(made).sha256}\n")
        (folder / BILL).write_text(json.dumps({}))
        shutil.copytree(UNITS, folder / "units")
        write_installer(folder / INSTALLER)
        told = {"version": version, "profile": "recommend", "machine": platform.machine(), "python": PYTHON}
        Bundle(**{**told, "glibc": (2, 17), **head}).write(folder)
        return folder

    return make
