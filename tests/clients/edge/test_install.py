"""The installer: exactly the bundle's wheels, no network, a self-test, and the version before when it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.edge import install as installer
from clients.edge.bundle import INSTALLER, REQUIREMENTS, Bundle
from clients.edge.install import install, link_units
from clients.edge.versions import SelfTestError, Versions
from fedrec.errors import DataError, FedRecError

pytestmark = pytest.mark.process


@pytest.fixture
def versions(tmp_path) -> Versions:
    return Versions(tmp_path / "opt")


@pytest.fixture
def shell_built(monkeypatch):
    """Build versions whose interpreter is a shell script, at once, without pip; return how to set what it does."""

    def be(script: str) -> None:
        def build(bundle: Path, read: Bundle, place: Path) -> None:
            (place / "bin").mkdir()
            (place / "bin" / "python").write_text(f"#!/bin/sh\n{script}\n")
            (place / "bin" / "python").chmod(0o755)
            shutil.copytree(bundle / "units", place / "units")

        monkeypatch.setattr(installer, "build", build)

    be("exit 0")
    return be


def put_in(bundle: Path, versions: Versions) -> str:
    return install(bundle, versions, home=None, say=lambda line: None)


def test_i85_a_bundle_installs_by_itself_with_the_standard_library_and_no_network(bundled, tmp_path):
    """The installer's archive in an empty network namespace, isolated from every environment variable and package."""
    bundle, root = bundled(), tmp_path / "opt"
    alone = ["unshare", "-n"] if os.geteuid() == 0 and shutil.which("unshare") else []
    command = [*alone, sys.executable, "-I", "-S", INSTALLER, "install", "--root", root, "--home", tmp_path / "none"]
    done = subprocess.run([*command, "--no-restart"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    python = root / "current" / "bin" / "python"
    shown = subprocess.run(
        [python, "-I", "-c", "import fedrec; print(fedrec.__version__)"], capture_output=True, text=True
    )
    assert shown.stdout == "1.0\n", shown.stderr


def test_i87_a_version_that_ends_in_sigill_is_named_so_and_the_one_before_stays(bundled, versions, shell_built):
    first = put_in(bundled("1.0"), versions)
    shell_built("kill -ILL $$")
    with pytest.raises(SelfTestError, match="an instruction that this processor lacks"):
        put_in(bundled("1.1"), versions)
    assert versions.current == first
    shell_built("echo one >&2; echo 'error: no room' >&2; exit 1")
    with pytest.raises(SelfTestError, match="does not work on this machine: error: no room"):
        put_in(bundled("1.2"), versions)
    shell_built("exit 0")
    second = put_in(bundled("1.3"), versions)
    assert (versions.current, versions.before) == (second, first)


@pytest.mark.abuse
def test_i85_an_altered_missing_or_added_file_is_named_and_nothing_is_installed(bundled, versions):
    bundle = bundled()
    for alter, said in (
        (lambda: (bundle / REQUIREMENTS).write_text("fedrec==6.6\n"), "was altered"),
        (lambda: (bundle / REQUIREMENTS).unlink(), "is missing"),
        (lambda: (bundle / "wheels" / "evil-1.0-py3-none-any.whl").write_bytes(b""), "is not of this bundle"),
    ):
        shutil.copytree(bundle, aside := bundle.with_name("aside"))
        alter()
        with pytest.raises(DataError, match=said):
            put_in(bundle, versions)
        shutil.rmtree(bundle)
        aside.rename(bundle)
    assert not versions.root.exists()


@pytest.mark.slow  # pip starts from its wheel, uncompiled
@pytest.mark.abuse
def test_i85_a_wheel_that_does_not_match_its_locked_hash_is_not_installed(bundled, versions):
    """Even where the bundle's own list was written anew: pip compares hashes too."""
    bundle = bundled()
    lock = (bundle / REQUIREMENTS).read_text()
    (bundle / REQUIREMENTS).write_text(lock.replace(lock.rpartition(":")[2][:4], "0000"))
    Bundle.read(bundled("1.1")).write(bundle)
    with pytest.raises(FedRecError, match="could not be installed"):
        put_in(bundle, versions)
    assert versions.current is None


@pytest.mark.abuse
def test_i85_a_bundle_with_another_fingerprint_is_refused(bundled, versions):
    with pytest.raises(DataError, match="do not install it"):
        install(bundled(), versions, home=None, fingerprint="0" * 64)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"machine": "riscv64"}, "this bundle is for riscv64"),
        ({"python": "3.2"}, r"this bundle is for Python 3\.2"),
        ({"glibc": (99, 0)}, r"the wheels need 99\.0"),
    ],
)
def test_a_bundle_for_another_machine_says_which(bundled, versions, head, said):
    with pytest.raises(DataError, match=said):
        put_in(bundled(**head), versions)


def test_units_are_links_into_the_current_version_so_that_they_change_and_go_back_with_it(
    bundled, versions, tmp_path, shell_built
):
    put_in(bundled(), versions)
    units = tmp_path / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    link_units(versions.root, units)
    link = units / "fedrec-trainer.service"
    assert link.readlink() == versions.root / "current" / "units" / link.name
    assert "PrivateNetwork=yes" in link.read_text()
    assert (tmp_path / "etc" / "sysusers.d" / "fedrec.conf").exists()
