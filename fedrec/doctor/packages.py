"""Looks at what is installed: Python, fedrec, what it depends on, its extras, and the build of PyTorch.

Versions are held against the ranges that fedrec's own metadata names, so that they stand in ``pyproject.toml`` alone.
"""

import importlib
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fedrec import __version__
from fedrec.doctor.finding import Finding, bad, good, note

NAME = "fedrec"
SHOWN = ("flwr", "torch", "opacus", "numpy")
"""Packages whose versions decide what a run does; they are named one by one."""

PURPOSES: Mapping[str, str] = {
    "sim": "nodes on a Ray cluster (federation.place=ray) and pictures (fedrec privacy plan --plot)",
    "parquet": "data in Parquet files, and per_user.parquet of a run",
    "notebook": "runs as data frames (fedrec.notebook)",
    "hpo": "fedrec sweep",
    "tensorboard": 'run.trackers = ["tensorboard"]',
    "mlflow": 'run.trackers = ["mlflow"]',
    "wandb": 'run.trackers = ["wandb"]',
    "text": "items with descriptions, by a text encoder",
    "postgres": "a server that writes what happened into PostgreSQL",
    "audit": "level 3 of fedrec audit: the sensitivity fuzz",
    "oracles": "one slow test of fedrec's own",
    "docs": "the documentation as a site (make docs)",
    "dev": "working on fedrec itself (make install)",
}
"""What each extra of ``pyproject.toml`` is for."""

Versions = Callable[[str], str | None]


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def own_requirements() -> list[Requirement]:
    """Return what fedrec's metadata asks for, extras' requirements with their markers; none if it is not installed."""
    try:
        return [Requirement(text) for text in metadata.requires(NAME) or ()]
    except metadata.PackageNotFoundError:
        return []


def python_findings(
    version: str = platform.python_version(), requires: str | None = None, executable: str = sys.executable
) -> Iterator[Finding]:
    """Say whether this Python is one that fedrec runs on; ``requires``: its range, by default the metadata's."""
    wanted = requires if requires is not None else _requires_python()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield good("python", f"{version} ({executable})")
    else:
        yield bad("python", f"{version} is not {wanted} ({executable})", f"install fedrec into a Python {wanted}")


def _requires_python() -> str:
    try:
        return metadata.metadata(NAME)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        return ""


def package_findings(
    requirements: Sequence[Requirement] | None = None, version_of: Versions = installed_version
) -> Iterator[Finding]:
    """Say whether fedrec and everything that it needs are there, in versions that it was made for."""
    asked = own_requirements() if requirements is None else list(requirements)
    own = version_of(NAME)
    if own is None or not asked:
        yield bad(NAME, f"{__version__} runs without being installed", "pip install fedrec, or make install")
        return
    if own != __version__:
        yield bad(NAME, f"the code is {__version__}, the installed metadata {own}", "pip install fedrec anew")
    else:
        yield good(NAME, own)
    core = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [(one, trouble) for one in core if (trouble := _trouble(one, version_of))]
    for one, trouble in wrong:
        yield bad(one.name, trouble, f"pip install '{one.name}{one.specifier}'")
    mended = {one.name for one, _ in wrong}
    shown = [f"{name} {version_of(name)}" for name in SHOWN if name not in mended]
    yield good("packages", f"{', '.join(shown)}; {len(core) - len(wrong)} of {len(core)} as asked for")


def _trouble(requirement: Requirement, version_of: Versions) -> str:
    """Return what is wrong with a required package, the empty text if nothing."""
    version = version_of(requirement.name)
    if version is None:
        return "not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version} is installed, fedrec asks for {requirement.specifier}"
    return ""


def extra_findings(
    requirements: Sequence[Requirement] | None = None, version_of: Versions = installed_version
) -> Iterator[Finding]:
    """Say of each optional extra whether it is there, and what it is for."""
    asked = own_requirements() if requirements is None else list(requirements)
    for extra, purpose in PURPOSES.items():
        own = [one for one in asked if one.marker and _only_of(one, extra) and one.name != NAME]
        if not own:
            continue
        lacking = [one.name for one in own if _trouble(one, version_of)]
        if not lacking:
            yield good(f"extra {extra}", f"for {purpose}")
        else:
            detail = f"for {purpose}; missing, or of another version: {', '.join(lacking)}"
            yield note(f"extra {extra}", detail, f"if wanted: pip install 'fedrec[{extra}]'")


def _only_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def torch_findings(import_module: Callable[[str], object] = importlib.import_module) -> Iterator[Finding]:
    """Say which build of PyTorch is there, and whether it can add; fedrec trains on the processor."""
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        yield bad("torch", f"cannot be imported: {error}", "install it anew; where there is no GPU, its CPU build")
        return
    version, cuda, threads = torch.__version__, torch.version.cuda, torch.get_num_threads()  # type: ignore[attr-defined]
    if int(torch.ones(3).sum()) != 3:  # type: ignore[attr-defined]
        yield bad("torch", f"{version} cannot add three ones", "install it anew, built for this processor")
        return
    running = f"{threads} thread{'s' if threads > 1 else ''}"
    if cuda is None:
        yield good("torch", f"{version}, a CPU build, {running}")
        return
    gpu = "with a GPU" if torch.cuda.is_available() else "without a GPU"  # type: ignore[attr-defined]
    detail = f"{version}, built for CUDA {cuda}, on a machine {gpu}, {running}; fedrec trains on the processor"
    yield note("torch", detail, "PyTorch's CPU build does the same, and is gigabytes smaller")
