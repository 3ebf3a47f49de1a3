"""What keeps the process that sees raw data apart: no network, no swelling, no outliving of its parent.

systemd's units ask the same of the kernel; these hold wherever a device runs, as far as the kernel lets them.
"""

import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def leave_the_network() -> bool:
    """Move this process, and those that it starts, into a network namespace without any interface.

    Unix sockets in the file system stay reachable. Must be called before there are threads. Returns whether it could
    be done: some kernels forbid it to those who are not root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):  # without the maps it is nobody here, and owns its files all the same
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def has_network() -> bool:
    """Return whether this process sees any network interface but a loopback that is down."""
    try:
        lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    except OSError:
        return True
    return any(not line.strip().startswith("lo:") for line in lines)


PARENT = "FEDREC_PARENT"
"""Variable of the environment in which a process tells its children its id."""


def end_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends, and end at once if it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.environ.get(PARENT)
    if parent and int(parent) != os.getppid():
        os.kill(os.getpid(), signal.SIGKILL)


def confine_worker(*, nice: int, address_space_mib: int) -> None:
    """Make this process the first that a machine short of memory ends, and the last that gets the processor.

    It leaves no core dump, which would hold what is private, and files that it makes are its owner's alone.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if address_space_mib:
        limit = address_space_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.nice(nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
