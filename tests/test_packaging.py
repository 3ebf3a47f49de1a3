"""What is built is what was meant: the wheel, the editable install and the Flower app bundle."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHELLS = {"clients", "server", "simulations"}

pytestmark = [pytest.mark.xdist_group("packaging"), pytest.mark.process]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run to the end without the checkout on the path; the output is for the assertion's message."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as it is published: built from the source distribution, which was built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean_bin(wheel, tmp_path_factory):
    """The ``bin`` of an environment that has the wheel, can see the dependencies, and cannot see the checkout."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    installed = run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=home,
    )
    assert installed.returncode == 0, installed.stderr
    site = next(home.glob("lib/python*/site-packages"))
    # A plain path in a .pth file: nested .pth files, the editable install's among them, are not followed.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home / "bin"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The Flower app bundle that ``flwr build`` makes of a checkout in which somebody has worked.

    Of a copy: Flower looks at every file below, those of a virtual environment for ten seconds.
    """
    folder = tmp_path_factory.mktemp("bundle")
    copy = folder / "checkout"
    for name in ("clients", "docs", "fedrec", "server", "simulations", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    for made in (".venv/fedrec/a.py", "runs/fedrec/b.py", "build/c.py", "d.py"):
        (copy / made).parent.mkdir(parents=True, exist_ok=True)
        (copy / made).write_text("")
    flwr = Path(sys.executable).with_name("flwr")
    built = run(flwr, "build", "--app", copy, cwd=folder, FLWR_HOME=str(folder / "home"))
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.fab"))


def names_in(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


def test_the_wheel_has_one_import_name(wheel):
    top = {name.split("/")[0] for name in names_in(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == {"fedrec"}


def test_the_wheel_carries_every_file_of_the_shells_as_its_app_directory(wheel):
    prefix = "fedrec/_app/"
    carried = {name.removeprefix(prefix) for name in names_in(wheel) if name.startswith(prefix)}
    tracked = run("git", "ls-files", *sorted(SHELLS), cwd=ROOT).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout, so there is no list of files to compare with")
    assert set(tracked) - carried == set()
    code, settings = {".py", ".pyi", ".proto", ".md"}, {".toml", ".service", ".conf", ".template", ".yaml", ".yml"}
    images = {name for name in carried if Path(name).name == "Dockerfile"}
    assert {Path(name).suffix for name in carried - images} <= code | settings


def test_the_wheel_carries_the_library_the_types_and_the_licence(wheel):
    names = names_in(wheel)
    library = {str(path.relative_to(ROOT)) for path in (ROOT / "fedrec").rglob("*.py")}
    assert library - set(names) == set()
    assert "fedrec/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(Path(name).name.startswith(("test_", "conftest")) or "__pycache__" in name for name in names)


@pytest.mark.slow  # .ci/installed does the same, in an environment that has nothing else
def test_the_installed_wheel_lies_where_it_was_installed_and_shows_no_shell(clean_bin, tmp_path):
    where = run(clean_bin / "python", "-c", "import fedrec; print(fedrec.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(clean_bin.parent)), where.stdout + where.stderr
    for shell in SHELLS:
        assert run(clean_bin / "python", "-c", f"import {shell}", cwd=tmp_path).returncode != 0


@pytest.mark.slow  # .ci/installed does the same, in an environment that has nothing else
def test_the_installed_wheel_simulates_one_tiny_round_outside_the_checkout(clean_bin, tmp_path):
    done = run(clean_bin / "fedrec", "simulate", "tiny", "--set", "training.rounds=1", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "summary.json").is_file()
    assert "epsilon" in done.stdout


def test_the_editable_install_shows_what_the_wheel_shows_and_no_more(tmp_path):
    def can_import(name: str) -> bool:
        return run(sys.executable, "-c", f"import {name}", cwd=tmp_path).returncode == 0

    assert can_import("fedrec")
    assert not [name for name in sorted({*SHELLS, "tests"}) if can_import(name)]


def test_the_command_reaches_the_shells_from_anywhere(tmp_path):
    command = Path(sys.executable).with_name("fedrec")
    shown = run(command, "simulate", "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr


def test_the_bundle_holds_library_client_and_server_and_nothing_else(bundle):
    names = names_in(bundle)
    allowed = ("fedrec/", "clients/", "server/", "pyproject.toml", "README.md", "LICENSE", ".info/")
    assert [name for name in names if not name.startswith(allowed)] == []
    for folder in ("fedrec", "clients", "server"):
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}
        assert modules - set(names) == set()
