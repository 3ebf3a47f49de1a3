"""Gather a bundle on a machine with a network, for machines that have none: wheels alone, versions and hashes locked.

The target may be another kind of machine than this one: ``uv`` resolves for it, environment markers included, which
pip evaluates for the machine it runs on. Versions are those installed here, so that what was tested is what is shipped.
PyTorch is the exception: a device gets a build without CUDA. PyPI's aarch64 wheel is one up to 2.10.0, and has 3 GB of
CUDA packages from 2.11 on; for x86_64 PyPI has none, and the wheel comes from PyTorch's CPU index or a local folder.
"""

import datetime
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import clients
import fedrec
from clients.edge.bundle import BILL, INSTALLER, REQUIREMENTS, Bundle
from clients.edge.sbom import PRODUCT, bill_of_materials
from clients.edge.wheels import Wheel, canonical, name_of
from fedrec.errors import DataError

Profile = Literal["full", "recommend"]
"""``full`` trains and recommends; ``recommend`` has no PyTorch and suits 512 MB of memory."""

TRAINING_ONLY = frozenset({"dp-accounting", "flwr", "opacus", "torch"})
"""Direct dependencies that only training needs."""
CUDA = re.compile(r"nvidia-|cuda-|triton")
INSTALLER_MODULES = (
    "fedrec/__init__.py",
    "fedrec/errors.py",
    "fedrec/faults.py",
    "fedrec/runs/__init__.py",
    "fedrec/runs/atomic.py",
    "clients/__init__.py",
    "clients/edge/__init__.py",
    "clients/edge/bundle.py",
    "clients/edge/install.py",
    "clients/edge/versions.py",
)
"""What the installer is made of: the standard library does the rest."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of machine. ``tags``: platform tags of the wheels it takes. ``torch``: the version with no CUDA."""

    machine: str
    uv_platform: str
    tags: tuple[str, ...]
    torch: str | None
    glibc: tuple[int, int] = (2, 28)


TARGETS: Mapping[str, Target] = {
    "aarch64": Target(
        machine="aarch64",
        uv_platform="aarch64-manylinux_2_28",
        tags=("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
        torch="2.10.0",  # the last one on PyPI without CUDA, and the first without CVE-2026-24747
    ),
    "x86_64": Target(
        machine="x86_64",
        uv_platform="x86_64-manylinux_2_28",
        tags=("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
        torch=None,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where packages come from. ``indexes``: beside the configured one. ``folders``: with wheels in them."""

    indexes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    offline: bool = False

    def options(self) -> list[str]:
        """Return the options that pip and uv have in common."""
        found = [part for index in self.indexes for part in ("--extra-index-url", index)]
        found += [part for folder in self.folders for part in ("--find-links", folder)]
        return [*found, *(["--no-index"] if self.offline else [])]


def direct_dependencies(product: Wheel, profile: Profile) -> list[str]:
    """Return what fedrec's wheel needs itself, as requirements, for a profile."""
    left_out = TRAINING_ONLY if profile == "recommend" else frozenset()
    return [requirement for requirement in sorted(product.requires) if name_of(requirement) not in left_out]


def installed_versions() -> dict[str, str]:
    """Return the versions of everything that is installed here, by canonical name."""
    return {canonical(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}


def gather(
    folder: Path,
    *,
    wheel: Path,
    profile: Profile,
    target: Target,
    sources: Sources,
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}",
    say: Callable[[str], None] = print,
) -> str:
    """Write a bundle of fedrec's ``wheel`` into a new ``folder`` and return its fingerprint.

    Raises ``DataError`` if the folder is not empty, or packages for the target cannot be had as wheels.
    """
    if profile not in get_args(Profile):
        raise DataError(f"profile must be one of {', '.join(get_args(Profile))}, got {profile!r}")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty: name another folder for the bundle")
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    say(f"resolving the {profile} profile for {target.machine}, Python {python}")
    lock = folder / "lock.txt"
    direct = direct_dependencies(Wheel.read(wheel), profile)
    lock.write_text(_resolve(folder, direct, target, sources, python))
    say("downloading wheels")
    _download(lock, wheels, target, sources, python)
    shutil.copy2(wheel, wheels / wheel.name)
    gathered = [Wheel.read(path) for path in sorted(wheels.glob("*.whl"))]
    _check(gathered)
    (folder / REQUIREMENTS).write_text(
        "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in gathered if w.name != "pip")
    )
    bill = bill_of_materials(gathered, datetime.datetime.now(datetime.UTC))
    (folder / BILL).write_text(json.dumps(bill, indent=1))
    shutil.copytree(Path(__file__).parent / "systemd", folder / "units")
    write_installer(folder / INSTALLER)
    lock.unlink()
    product = next(w for w in gathered if w.name == PRODUCT)
    head = Bundle(version=product.version, profile=profile, machine=target.machine, python=python, glibc=target.glibc)
    fingerprint = head.write(folder)
    size = sum(path.stat().st_size for path in wheels.iterdir()) / 2**20
    say(f"{len(gathered)} wheels, {size:.0f} MiB; fingerprint {fingerprint}")
    return fingerprint


def write_installer(path: Path) -> None:
    """Write the installer: an archive that ``python3`` runs, with the modules it needs under their own names."""
    roots = {"fedrec": Path(fedrec.__file__).parent, "clients": Path(clients.__file__).parent}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in INSTALLER_MODULES:
            package, _, rest = name.partition("/")
            _write_member(archive, name, (roots[package] / rest).read_bytes())
        _write_member(archive, "__main__.py", b"from clients.edge.install import main\n\nmain()\n")


def _write_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed date, so that equal sources make equal installers."""
    archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def _resolve(folder: Path, direct: Sequence[str], target: Target, sources: Sources, python: str) -> str:
    """Return the lock of everything but fedrec: exact versions for the target, each with its hashes."""
    inputs = folder / "requirements.in"
    inputs.write_text("\n".join([*direct, "pip"]) + "\n")
    pins = folder / "constraints.txt"
    here = installed_versions()
    torch = target.torch or here.get("torch")
    versions = {name: v for name, v in here.items() if name not in {PRODUCT, "pip", "torch"} and "+" not in v}
    versions |= {"torch": torch} if torch else {}
    pins.write_text("".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))
    command = [_uv(), "pip", "compile", str(inputs), "--quiet", "--no-header", "--no-annotate", "--no-build"]
    command += ["--python-platform", target.uv_platform, "--python-version", python, "--generate-hashes"]
    command += ["--constraint", str(pins), "--index-strategy", "unsafe-best-match", *sources.options()]
    try:
        return _run(command, f"no set of wheels for {target.machine} and Python {python}")
    finally:
        inputs.unlink()
        pins.unlink()


def _download(lock: Path, wheels: Path, target: Target, sources: Sources, python: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python]
    command += ["--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
    command += [part for tag in (*target.tags, "any") for part in ("--platform", tag)]
    command += ["--requirement", str(lock), "--dest", str(wheels), *sources.options()]
    _run(command, f"wheels for {target.machine} cannot be downloaded")


def _check(wheels: Sequence[Wheel]) -> None:
    cuda = [wheel.name for wheel in wheels if CUDA.match(wheel.name)]
    if cuda:
        raise DataError(
            f"the PyTorch that was found brings CUDA ({cuda[0]}), gigabytes that a device has no use for: install "
            "PyTorch's CPU build here, and name its index or folder with --index or --folder"
        )


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise DataError("uv is needed to resolve for another machine: pip install uv")
    return found


def _run(command: Sequence[str], problem: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise DataError(f"{problem}: {' '.join(said[-3:]) or 'no reason was given'}")
    return done.stdout
