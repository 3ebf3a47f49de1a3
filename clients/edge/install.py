"""The installer on a device: from a bundle to a version that runs, and back. ``python3 fedrec-edge.pyz --help``.

Needs the standard library alone, and neither a network nor pip nor ensurepip: the bundle carries pip.
"""

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from clients.edge.bundle import INSTALLER, Bundle, digest_of
from clients.edge.versions import SelfTestError, Test, Versions
from fedrec.errors import FedRecError

ROOT = Path("/opt/fedrec")
HOME = Path("/var/lib/fedrec")
UNITS = Path("/etc/systemd/system")
SERVICES = ("fedrec-api.service", "fedrec-node.service", "fedrec-trainer.service")
ENABLED = ("fedrec-settle.service", *SERVICES)
SELF_TEST = (
    "from fedrec.app_directory import enter_app_directory as enter; enter(); "
    "from clients.edge.own_trial import main; main()"
)
"""What an installed version runs to test itself; the shells of a wheel lie in its app directory."""
MOST_SECONDS = 900
"""A self-test that is not done by then has failed: a slow and busy board imports PyTorch for minutes."""


def install(
    bundle: Path,
    versions: Versions,
    *,
    home: Path | None,
    fingerprint: str = "",
    restart: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> str:
    """Install a bundle beside what there is, test it, and make it current; return the version's name.

    Raises ``DataError`` for a bundle that is altered or not for this machine, ``SelfTestError`` when the new version
    does not work here; then the one before runs on.
    """
    read = Bundle.read(bundle, fingerprint)
    read.check_machine()
    name = f"{read.version}-{digest_of(bundle / 'bundle.json')[:8]}"
    say(f"installing {name} ({read.profile}) into {versions.root}")
    folder = versions.install(name, lambda place: build(bundle, read, place))
    if versions.current == name:
        say(f"{name} is the current version already")
        return name
    test = self_test(read.profile, home)
    versions.upgrade(name, test=test, restart=restart, live=lambda: test(folder))
    say(f"{name} is current" + (f"; {versions.before} is kept for a rollback" if versions.before else ""))
    return name


def build(bundle: Path, read: Bundle, place: Path) -> None:
    """Fill a version's folder: a virtual environment of exactly the bundle's wheels, by hash, from no index."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(place)], "no virtual environment could be made")
    pip = next((bundle / "wheels").glob("pip-*.whl"))
    command = [str(place / "bin" / "python"), "-I", "-c", "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "]
    command[-1] += "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
    command += [str(pip), "install", "--quiet", "--no-index", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--find-links", str(bundle / "wheels")]
    _run([*command, "--requirement", str(bundle / read.requirements)], "the wheels could not be installed")
    shutil.copytree(bundle / "units", place / "units")
    shutil.copy2(bundle / INSTALLER, place / INSTALLER)
    (place / "profile").write_text(read.profile)


def self_test(profile: str, home: Path | None) -> Test:
    """Return the test of a version: its own interpreter imports, computes, signs, and reads a copy of the store."""

    def test(folder: Path) -> None:
        command = [str(folder / "bin" / "python"), "-I", "-c", SELF_TEST, "--profile", profile]
        command += ["--home", str(home)] if home is not None else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SelfTestError(f"the self-test of {folder.name} took more than {MOST_SECONDS} s") from error
        if done.returncode == 0:
            return
        said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
        if done.returncode == -4:
            said = "a wheel uses an instruction that this processor lacks (SIGILL): take wheels built for this board"
        raise SelfTestError(f"{folder.name} does not work on this machine: {said}")

    return test


def profile_of(folder: Path) -> str:
    """Return the profile that a version was installed with."""
    return (folder / "profile").read_text().strip()


def link_units(root: Path, units: Path) -> None:
    """Link the system's units to those of the current version, so that they change and go back with it."""
    source = root / "current" / "units"
    for name in sorted(path.name for path in source.glob("*.service")):
        link = units / name
        link.unlink(missing_ok=True)
        link.symlink_to(source / name)
    for name, place in (("fedrec.sysusers.conf", "sysusers.d"), ("fedrec.tmpfiles.conf", "tmpfiles.d")):
        folder = units.parent.parent / place  # /etc/sysusers.d, /etc/tmpfiles.d
        folder.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / "fedrec.conf")


def restart_services() -> None:
    """Restart what runs, where systemd does: the new version's units are read first."""
    if not Path("/run/systemd/system").is_dir():
        return
    _run(["systemctl", "daemon-reload"], "systemd did not read the units")
    _run(["systemctl", "try-restart", *SERVICES], "the services did not restart")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors are one line, exit status 2, or 1 for a version that did not prove itself."""
    os.umask(0o022)
    chosen = _parser().parse_args(arguments)
    try:
        _carry_out(chosen)
    except SelfTestError as error:
        _leave(error, 1)
    except (FedRecError, OSError) as error:
        _leave(error, 2)


def _carry_out(chosen: argparse.Namespace) -> None:
    versions: Versions = Versions(chosen.root)
    restart: Callable[[], None] = (lambda: None) if chosen.no_restart else restart_services
    home = chosen.home if chosen.home.exists() else None
    match chosen.command:
        case "install":
            install(chosen.bundle, versions, home=home, fingerprint=chosen.fingerprint, restart=restart)
            if chosen.units is not None:
                link_units(chosen.root, chosen.units)
                print(f"next: systemd-sysusers; systemd-tmpfiles --create; systemctl enable {' '.join(ENABLED)}")
        case "rollback":
            print(f"{versions.roll_back(restart=restart)} is current again")
        case "settle":
            print(versions.settle(lambda folder: self_test(profile_of(folder), home)(folder)))
        case "self-test":
            current = versions.folder(versions.current or "none")
            self_test(profile_of(current), home)(current)
            print(f"{current.name} works on this machine")
        case _:
            print(f"current {versions.current}; before {versions.before}; whole {', '.join(versions.complete())}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fedrec-edge.pyz", description=__doc__)
    parser.add_argument("command", choices=("install", "rollback", "settle", "self-test", "status"))
    parser.add_argument(
        "--bundle", type=Path, default=_own_folder(), help="the bundle; by default where this file lies"
    )
    parser.add_argument("--fingerprint", default="", help="what the bundle's maker said that its fingerprint is")
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where versions are kept ({ROOT})")
    parser.add_argument("--home", type=Path, default=HOME, help=f"the device's folder ({HOME})")
    parser.add_argument("--units", type=Path, nargs="?", const=UNITS, help=f"also link the systemd units ({UNITS})")
    parser.add_argument("--no-restart", action="store_true", help="leave the services as they are")
    return parser


def _own_folder() -> Path:
    archive = Path(sys.argv[0]).resolve()
    return archive.parent if zipfile.is_zipfile(archive) else Path.cwd()


def _leave(error: Exception, code: int) -> None:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    sys.exit(code)


def _run(command: Sequence[str], problem: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise FedRecError(f"{problem}: {' '.join(said[-2:]) or 'no reason was given'}")
