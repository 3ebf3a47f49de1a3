"""Each look at the machine, shown other machines."""

import socket

import pytest

from fedrec.doctor.finding import State
from fedrec.doctor.machine import (
    LEAST_FREE,
    LEAST_SHARED,
    LITTLE_FREE,
    clock_findings,
    disk_findings,
    loopback_free,
    open_file_findings,
    port_findings,
    program_findings,
    shared_memory_findings,
)

NOON = 1_780_000_000.0  # 2026-05-28


def clock(*, wall=NOON, jump=0.0, installed=NOON - 1000, network_time=True):
    """Return the one finding of a machine whose wall clock says ``wall`` and jumps while it is watched."""
    slept = []
    (finding,) = clock_findings(
        wall=lambda: wall + jump * len(slept),
        steady=lambda: 5.0,
        sleep=slept.append,
        installed=lambda: installed,
        network_time=lambda: network_time,
    )
    return finding


@pytest.mark.parametrize(
    ("facts", "state", "says"),
    [
        ({}, State.GOOD, "the network sets it"),
        ({"network_time": None}, State.GOOD, "nothing here says"),
        ({"network_time": False}, State.NOTE, "no network sets it"),
        ({"wall": 0.0}, State.BAD, "1970-01-01"),
        ({"installed": NOON + 3 * 86_400}, State.BAD, "fedrec's files are of"),
        ({"wall": 4_200_000_000.0}, State.BAD, "the year 2103"),
        ({"jump": 0.5}, State.BAD, "+500 ms"),
        ({"jump": -0.5}, State.BAD, "-500 ms"),
        ({"jump": 0.0001}, State.GOOD, "steady"),
    ],
)
def test_a_clock_is_held_to_the_files_to_a_steady_one_and_to_the_network(facts, state, says):
    finding = clock(**facts)
    assert finding.state is state
    assert says in finding.detail
    assert bool(finding.remedy) is (state is not State.GOOD)


def test_a_port_that_is_taken_is_a_note_with_the_option_that_names_another():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert loopback_free(port)
        well, finding = port_findings({"--port": port})
    assert (well.state, finding.state) == (State.GOOD, State.NOTE)
    assert str(port) in finding.detail
    assert "--port" in finding.remedy
    assert loopback_free(port) == ""


def test_a_machine_without_loopback_is_bad():
    (finding,) = port_findings({"--port": 8443}, lambda port: "Cannot assign requested address")
    assert finding.bad


@pytest.mark.parametrize(
    ("free", "state"), [(LEAST_FREE - 1, State.BAD), (LITTLE_FREE - 1, State.NOTE), (LITTLE_FREE, State.GOOD)]
)
def test_room_for_runs_is_told(tmp_path, free, state):
    (finding,) = disk_findings(tmp_path / "runs", lambda place: free)
    assert finding.state is state
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_bad(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = disk_findings(tmp_path / "file" / "runs")
    assert finding.bad
    assert "--out" in finding.remedy


@pytest.mark.parametrize(("limit", "state"), [(256, State.NOTE), (1024, State.GOOD), (-1, State.GOOD)])
def test_few_open_files_are_a_note(limit, state):
    (finding,) = open_file_findings(limit)
    assert finding.state is state


@pytest.mark.parametrize(("free", "state"), [(64 * 2**20, State.NOTE), (LEAST_SHARED, State.GOOD)])
def test_little_shared_memory_is_a_note(tmp_path, free, state):
    (finding,) = shared_memory_findings(tmp_path, lambda place: free)
    assert finding.state is state


def test_no_shared_memory_is_a_note(tmp_path):
    (finding,) = shared_memory_findings(tmp_path / "none")
    assert finding.state is State.NOTE


def test_a_program_that_is_missing_is_a_note_with_what_it_is_for():
    there, missing = program_findings({"a": ("/bin/a", "this", "get a"), "b": (None, "that", "get b")})
    assert there.state is State.GOOD
    assert missing.state is State.NOTE
    assert "that" in missing.detail
    assert missing.remedy == "if wanted: get b"
