import pytest

from clients.device.home import DeviceHome
from clients.device.locks import held
from clients.local_store import LocalStore
from clients.supervisor.doctor import examine
from clients.supervisor.places import NODE, TRAINER
from clients.supervisor.reports import NodeReport, TrainerReport, steady_now
from fedrec.doctor.finding import State
from fedrec.signing.orders import Orders


@pytest.fixture
def ask(device, server, tls, signing_key, authority):
    """Return what the doctor finds in the device, by part; the server answers."""
    server.answer = tls.say(200, Orders(sequence=1).signed(signing_key))

    def examined():
        found: dict[str, list] = {}
        for finding in examine(device, link_to=lambda settings: server.link(authority.path)):
            found.setdefault(finding.what, []).append(finding)
        return found

    return examined


def test_a_healthy_device_is_found_so(ask, device):
    now = steady_now()
    NodeReport(process=1, written=now, state="running", poll_age=2.0).write(device.run / NODE)
    TrainerReport(process=1, written=now, state="idle", network=False).write(device.run / TRAINER)
    with held(device.run, "api"), held(device.run, "node"), held(device.run, "trainer"):
        found = ask()
    assert [finding for part in found.values() for finding in part if finding.bad] == []
    assert found["node"][0].detail == "polled the server 2 s ago"


def test_a_device_that_does_not_run_is_told_how_to_start(ask):
    found = ask()
    assert all(found[role][0].bad and "fedrec device run --only" in found[role][0].remedy for role in ("api", "node"))


def test_a_server_of_another_authority_is_named_and_what_to_check(device, tls, other_authority, authority):
    with tls.server(other_authority.issue("portal")) as portal:
        found = examine(device, link_to=lambda settings: portal.link(authority.path))
    (server,) = [finding for finding in found if finding.what == "server"]
    assert server.bad
    assert "nothing was sent" in server.detail
    assert "ca.crt" in server.remedy


def test_a_clock_that_is_wrong_is_found_by_the_server_s(ask, server, tls, signing_key):
    server.answer = tls.say(200, Orders(sequence=1).signed(signing_key), Date="Thu, 01 Jan 2026 00:00:00 GMT")
    assert "the server's" in ask()["clock"][0].detail


def test_files_that_others_may_read_are_named_with_the_command_that_closes_them(ask, device):
    device.store.chmod(0o644)
    assert ask()["modes"][0].remedy == f"chmod 600 {device.store}"


def test_a_stop_withdrawn_consent_and_a_failure_of_the_role_are_told(ask, device, server, tls, signing_key):
    server.answer = tls.say(200, Orders(sequence=2, stop=True, reason="a bug").signed(signing_key))
    NodeReport(process=1, written=steady_now(), state="failed", failure="no route").write(device.run / NODE)
    with LocalStore.open(device.store) as store:
        store.set_consent(False)
    with held(device.run, "node"):
        found = ask()
    assert found["orders"][0].detail.endswith("a bug")
    assert found["node"][0].detail == "no route"
    assert found["training (owner)"][0].state is State.NOTE


def test_a_folder_that_is_no_device_is_told_how_to_become_one(tmp_path):
    (finding,) = examine(DeviceHome(tmp_path))
    assert finding.bad
    assert "is no device's folder" in finding.detail
    assert f"fedrec device init {tmp_path}" in finding.remedy


def test_a_ledger_that_was_cut_is_a_fault_and_one_of_nothing_is_not(ask, device):
    assert "Nothing computed" in ask()["privacy"][0].detail
    device.ledger.write_text("{}\n")
    assert ask()["privacy"][0].bad
