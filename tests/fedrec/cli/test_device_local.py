"""``fedrec device``'s commands for a device's owner, through a service in this process and without one."""

import json
import os

import pytest

from clients.device.home import DeviceHome
from clients.device.settings import DeviceSettings, ServerSettings
from clients.local_store import Event, LocalStore
from clients.service.server import running
from fedrec.cli.main import run

SETTINGS = DeviceSettings(key="device-1", server=ServerSettings(address="server.invalid:443"))
ITEMS = ["item-0", "item-1", "item-2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = DeviceHome(tmp_path_factory.mktemp("cli") / "device")
    catalogue = home.catalogues / "1"
    catalogue.mkdir(parents=True)
    names = {"item_ids": ITEMS, "titles": [item.upper() for item in ITEMS], "feature_names": []}
    (catalogue / "catalogue.json").write_text(json.dumps(names))
    (home.catalogues / "current").symlink_to("1")
    SETTINGS.save(home.settings)
    LocalStore.create(home.store).close()
    return home


@pytest.fixture(scope="module")
def served(home):
    with running(home, SETTINGS):
        yield home.path


@pytest.fixture
def fedrec(capsys):
    """Run a command line and return its exit code, output and errors."""

    def fedrec(*words):
        code = run(["device", *map(str, words)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return fedrec


def test_a_list_its_feedback_and_the_next_list(fedrec, served):
    code, out, _ = fedrec("recommend", served, "--k", 2)
    assert code == 0
    assert "1. ITEM-0" in out
    assert fedrec("feedback", served, "item-0", "--kind", "view")[:2] == (0, "kept as event 1\n")
    record = json.loads(fedrec("recommend", served, "--k", 1, "--json")[1])
    assert [pick["item"] for pick in record["recommendations"]] == ["item-1"]
    code, out, _ = fedrec("recommend", served, "--k", 1, "--exclude", "item-1", "--explain")
    assert "1. ITEM-2: " in out


def test_a_refusal_is_one_line_and_leaves_with_2(fedrec, served):
    code, _, errors = fedrec("feedback", served, "no-such-item")
    assert code == 2
    assert errors.startswith("error: the device's catalogue does not know the item")
    assert fedrec("recommend", served, "--user", "eve")[0] == 2


def test_the_status_in_words_and_as_json(fedrec, served):
    code, out, _ = fedrec("status", served)
    assert code == 0
    assert f"api: runs as process {os.getpid()}" in out
    assert "trainer: does not run" in out
    assert "privacy budget: unused" in out
    record = json.loads(fedrec("status", served, "--json")[1])
    assert record["service"]["num_items"] == 3
    assert record["privacy"]["state"] == "BUDGET_STATE_UNUSED"


def test_consent_is_shown_given_and_withdrawn(fedrec, served):
    code, out, note = fedrec("consent", served, "--grant")
    assert code == 0
    assert out.startswith("consent to training: given on ")
    assert "policy.toml" in note
    assert "withdrawn on" in fedrec("consent", served, "--withdraw")[1]
    assert json.loads(fedrec("consent", served, "--json")[1])["version"] == 2


def test_what_was_spent_is_told(fedrec, served):
    assert "ever released" in fedrec("privacy", served)[1]
    assert json.loads(fedrec("privacy", served, "--json")[1])["charges"] == 0


def test_an_export_goes_into_a_new_file_for_its_owner_alone(fedrec, served, tmp_path):
    out = tmp_path / "export.json"
    assert fedrec("export", served, "--out", out)[0] == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert json.loads(out.read_text())["users"] == ["me"]
    code, _, errors = fedrec("export", served, "--out", out)
    assert code == 2
    assert "exists" in errors
    assert json.loads(fedrec("export", served)[1])["format"] == "fedrec-device"


@pytest.fixture
def idle(tmp_path):
    """A device whose service does not run, with one event."""
    home = DeviceHome(tmp_path / "idle")
    home.path.mkdir()
    SETTINGS.save(home.settings)
    with LocalStore.create(home.store) as store:
        store.record(Event("me", "item-1", 1e9))
    return home.path


def test_where_no_service_runs_commands_say_how_to_start_it(fedrec, idle):
    for command in (("recommend", idle), ("feedback", idle, "item-1"), ("privacy", idle), ("status", idle)):
        code, out, errors = fedrec(*command)
        assert code == 2
        assert f"fedrec device run {idle}" in errors
    assert "api: does not run" in out


def test_what_an_owner_has_a_right_to_works_without_the_service(fedrec, idle, tmp_path):
    assert "given on" in fedrec("consent", idle, "--grant")[1]
    out = tmp_path / "export.json"
    assert fedrec("export", idle, "--out", out)[0] == 0
    assert [event["item"] for event in json.loads(out.read_text())["events"]] == ["item-1"]
    code, told, _ = fedrec("forget", idle, "--yes")
    assert code == 0
    assert told.startswith("forgot 1 events")
    assert json.loads(fedrec("export", idle)[1])["events"] == []
    assert "withdrawn" in fedrec("consent", idle)[1]


def test_an_export_is_taken_over_by_a_fresh_device(fedrec, idle, tmp_path):
    out = tmp_path / "export.json"
    fedrec("export", idle, "--out", out)
    fresh = DeviceHome(tmp_path / "fresh")
    fresh.path.mkdir()
    SETTINGS.save(fresh.settings)
    LocalStore.create(fresh.store).close()
    assert fedrec("import", fresh.path, out)[0] == 0
    assert json.loads(fedrec("export", fresh.path)[1])["events"] == json.loads(out.read_text())["events"]
    assert fedrec("import", fresh.path, tmp_path / "nothing.json")[0] == 2


def test_forgetting_asks_first(fedrec, idle, monkeypatch):
    monkeypatch.setattr("typer.confirm", lambda question, abort: (_ for _ in ()).throw(KeyboardInterrupt))
    assert fedrec("forget", idle)[0] != 0
    assert json.loads(fedrec("export", idle)[1])["events"]


def test_a_folder_that_is_no_device_is_named(fedrec, tmp_path):
    code, _, errors = fedrec("status", tmp_path)
    assert code == 2
    assert "no device's folder" in errors
