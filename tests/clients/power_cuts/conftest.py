"""A device's days, recorded once call by call, to lose power in afterwards."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.clients.power_cuts.disk import Disk, Record, read_log

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What the workload did to its folder ``root``, of which ``before`` is a copy from before it began."""

    root: Path
    before: Path
    records: list[Record]
    numbers: dict[str, int]

    def disk(self) -> Disk:
        """Return the disk as it was before the recording."""
        disk = Disk(self.before, str(self.root))
        disk.number(self.numbers)
        return disk


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the recorder."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the recorder of file system calls cannot be made")
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, HERE / "recorder.c", "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def recording(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Let a device live under the recorder, in a process of its own."""
    folder = tmp_path_factory.mktemp("recording").resolve()
    root, before, log = folder / "home", folder / "before", folder / "log"
    root.mkdir(mode=0o700)
    environment = {**os.environ, "LD_PRELOAD": str(recorder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, HERE / "workload.py", root, before, log]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(log.with_suffix(".numbers").read_text())
    return Recording(root=root, before=before, records=read_log(log), numbers=numbers)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder in memory where there is one: what is rebuilt there need not reach a disk."""
    held = Path("/dev/shm")
    with TemporaryDirectory(dir=held if os.access(held, os.W_OK) else tmp_path) as folder:
        yield Path(folder)
