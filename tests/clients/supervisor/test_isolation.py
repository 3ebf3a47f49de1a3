import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.abuse]

PROGRAM = """
import socket, sys
from clients.supervisor.isolation import has_network, leave_the_network
assert leave_the_network()
assert not has_network()
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2)
    print("reached")
except OSError:
    print("no network")
local = socket.socket(socket.AF_UNIX)
local.connect(sys.argv[2])
print("socket")
"""


def test_who_has_left_the_network_reaches_unix_sockets_and_nothing_else(tmp_path: Path):
    """Not even loopback: what sees raw data has no way out but the sockets that it is given."""

    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        local.listen()
        command = [sys.executable, "-c", PROGRAM, str(tcp.getsockname()[1]), str(tmp_path / "s")]
        root = Path(__file__).resolve().parents[3]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, timeout=60)
    assert done.stdout.split("\n")[:2] == ["no network", "socket"], done.stderr
