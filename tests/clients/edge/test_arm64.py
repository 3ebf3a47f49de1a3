"""A device's bundle on an emulated ARM machine: installed there, tested there, and recommending as it does here."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.artefacts.versions import switch
from clients.device.home import DeviceHome
from clients.inference.recommender import Recommender
from clients.local_store import Event, LocalStore
from fedrec.config import ModelConfig, parse_scenario
from fedrec.data.load import load_dataset
from fedrec.models import build_model
from fedrec.serving.export import export_model
from fedrec.serving.package import FoldIn

QEMU, FORMAT, REGISTER = (
    "qemu-aarch64-static",
    Path("/usr/lib/binfmt.d/qemu-aarch64.conf"),
    Path("/proc/sys/fs/binfmt_misc"),
)
NEEDED = all(map(shutil.which, (QEMU, "debootstrap", "chroot", "dpkg-deb"))) and os.geteuid() == 0 and FORMAT.exists()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not NEEDED, reason="needs root and the Debian packages qemu-user-static and debootstrap"),
]

ANSWER = """
from fedrec.app_directory import enter_app_directory; enter_app_directory()
import json, platform, sys
from pathlib import Path
from clients.device.home import DeviceHome
from clients.inference.recommender import Recommender
assert "torch" not in sys.modules
found = Recommender(DeviceHome(Path("/device"))).recommend("me", 5)
print(json.dumps([platform.machine(), [[pick.item, pick.score] for pick in found]]))
"""


def run(*command: str | Path, seconds: int = 900) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return done.stdout


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Iterator[Path]:
    """Debian 12 for arm64 with its Python, and nothing of ours; the kernel hands its programs to qemu."""
    root = tmp_path_factory.mktemp("board")
    wanted = ("--foreign", "--arch=arm64", "--variant=minbase", "--include=python3,python3-distutils")
    run("debootstrap", *wanted, "bookworm", root, "http://deb.debian.org/debian")
    for package in sorted((root / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        run("dpkg-deb", "-x", package, root)  # their scripts are not needed for this
    if not (REGISTER / "register").exists():
        run("mount", "-t", "binfmt_misc", "none", REGISTER)
    ours = not (REGISTER / "qemu-aarch64").exists()
    if ours:
        (REGISTER / "register").write_text(FORMAT.read_text().strip())
    yield root
    if ours:
        (REGISTER / "qemu-aarch64").write_text("-1")


@pytest.fixture(scope="module")
def device(board) -> DeviceHome:
    """A device's folder on the board, with one person's events, a catalogue and a model."""
    home = DeviceHome(board / "device")
    scenario = parse_scenario({"data": {"source": "synthetic", "synthetic_users": 20, "synthetic_items": 300}})
    catalogue = load_dataset(scenario.data, 0).catalogue
    for folder in (home.path, home.state, home.catalogues, home.models, home.run):
        folder.mkdir(mode=0o700)
    with LocalStore.create(home.store) as store:
        for age, item in enumerate(catalogue.item_ids[:12]):
            store.record(Event("me", item, 1e9 + age, "click"))
    catalogue.save(home.catalogues / "1")
    model = build_model(ModelConfig(dim=8, history_length=10), catalogue, 0)
    export_model(home.models / "1", model, model.shared_state(), catalogue, run_id="run", round=1, fold_in=FoldIn())
    for folder in (home.catalogues, home.models):
        switch(folder, 1)
    return home


def test_i86_a_bundle_installs_on_arm64_passes_its_self_test_there_and_recommends_as_here(board, device, tmp_path):
    bundle = tmp_path / "bundle"
    run("fedrec", "bundle", "--machine", "aarch64", "--profile", "recommend", "--out", bundle)
    shutil.copytree(bundle, board / "bundle")
    options = ("--root", "/opt/fedrec", "--home", "/device", "--no-restart")
    said = run("chroot", board, "/usr/bin/python3", "-I", "/bundle/fedrec-edge.pyz", "install", *options)
    assert "is current" in said
    machine, found = json.loads(run("chroot", board, "/opt/fedrec/current/bin/python", "-I", "-c", ANSWER))
    assert machine == "aarch64"
    here = Recommender(device).recommend("me", 5)
    assert [item for item, _ in found] == [pick.item for pick in here]
    assert [score for _, score in found] == pytest.approx([pick.score for pick in here], abs=1e-4)
