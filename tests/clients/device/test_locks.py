import os
import subprocess
import sys
from pathlib import Path

import pytest

from clients.device.locks import Role, held, holder
from fedrec.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys
from pathlib import Path
from clients.device.locks import held
with held(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.fault
@pytest.mark.process
@pytest.mark.parametrize("role", Role)
def test_a13_the_second_process_of_a_role_is_refused_and_told_who_has_it(tmp_path, role):
    """Case A13: two clients on one state directory. A holder that is killed leaves no lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run"), role]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert holder(tmp_path / "run", role) == other.pid
        with pytest.raises(DataError, match=f"already run by process {other.pid}"), held(tmp_path / "run", role):
            pass
        other.kill()
    with held(tmp_path / "run", role):
        pass
    assert holder(tmp_path / "run", role) is None


def test_roles_do_not_stand_in_each_other_s_way(tmp_path):
    with held(tmp_path, "api"), held(tmp_path, "node"), held(tmp_path, "trainer"):
        assert {holder(tmp_path, role) for role in Role} == {os.getpid()}


def test_looking_at_a_lock_does_not_keep_its_role_from_starting(tmp_path):
    with held(tmp_path, "node"):
        pass
    for _ in range(50):
        holder(tmp_path, "node")
        with held(tmp_path, "node"):
            pass
