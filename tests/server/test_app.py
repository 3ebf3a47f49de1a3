"""The server app: finds its run folder, trains, and writes a row for every round."""

import pytest
from flwr.app import Context, RecordDict

from fedrec.errors import ConfigError, DataError
from fedrec.flower.identity import task_identity
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.runs.folder import RunFolder
from fedrec.runs.privacy_record import PrivacyReport
from server import app as module
from server.app import app, federation_of
from server.door.enrolments import Enrolments
from server.door.home import ServerHome


def context(run: object = "") -> Context:
    return Context(1, 0, {}, RecordDict(), {"run": str(run)})


@pytest.fixture
def folder(bench) -> RunFolder:
    folder = RunFolder.create(bench.folder / "run", bench.federation("federation.nodes=3").scenario)
    bench.dataset.catalogue.save(folder.catalogue)
    return folder


def test_a_run_folder_is_all_that_the_app_needs(bench, folder):
    with task_identity(run_id=1):
        app(bench.grid, context(folder.path))
    rows = folder.metrics()
    assert [row["round"] for row in rows] == [0, 1, 2, 3]
    assert all(row["bytes_up"] > 0 and row["bytes_down"] > 0 for row in rows)
    assert len(list(folder.checkpoints.glob("*.safetensors"))) == 3
    told = [event["what"] for event in folder.events()]
    assert told[0] == "run-began"
    assert told[-1] == "run-ended"
    assert told.count("round-committed") == 4


def test_a_deployed_run_ends_with_its_privacy_report(bench):
    scenario = bench.federation("federation.nodes=3", "privacy.enabled=true", "privacy.epsilon=8.0").scenario
    folder = RunFolder.create(bench.folder / "private", scenario)
    bench.dataset.catalogue.save(folder.catalogue)
    with task_identity(run_id=1):
        app(bench.grid, context(folder.path))
    report = PrivacyReport.model_validate_json(folder.privacy_path.read_bytes())
    assert report.claims[0].epsilon == pytest.approx(epsilon_pld(Ledger(folder.ledger_path).events(), 1e-3))
    assert "a deployment measures nothing without noise" in report.metrics_policy
    assert report.sentence in folder.privacy_page_path.read_text()


def test_the_environment_names_the_folder_where_the_run_does_not(folder, monkeypatch):
    monkeypatch.setenv("FEDREC_RUN", str(folder.path))
    assert federation_of(context()).checkpoints == folder.checkpoints
    assert federation_of(context()).minimum_nodes == 3


def test_without_either_the_error_says_how_to_name_a_folder(monkeypatch):
    monkeypatch.delenv("FEDREC_RUN", raising=False)
    with pytest.raises(ConfigError, match="--run-config"):
        federation_of(context())


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not a run"):
        federation_of(context(tmp_path))


def test_a_calendar_without_end_ends_when_the_server_first_starts(bench, monkeypatch):
    scenario = bench.federation('model.members=["recent-popularity"]').scenario
    folder = RunFolder.create(bench.folder / "dated", scenario)
    bench.dataset.catalogue.save(folder.catalogue)
    for clock in (1e9, 2e9):  # started, resumed
        monkeypatch.setattr(module.time, "time", lambda clock=clock: clock)
        assert federation_of(context(folder.path)).scenario.model.recency_end == 1e9
    assert folder.scenario().model.recency_end == 1e9


def test_the_list_of_devices_is_the_one_of_the_server_s_folder(folder, tmp_path, monkeypatch):
    home = ServerHome(tmp_path / "server")
    home.path.mkdir()
    Enrolments.create(home.enrolments)
    monkeypatch.setenv("FEDREC_SERVER", str(home.path))
    enrolment = federation_of(context(folder.path)).enrolment
    assert isinstance(enrolment, Enrolments)
    assert enrolment.public_key("node-0") is None


def test_without_a_list_of_devices_the_server_says_whom_it_believes(folder, monkeypatch, caplog):
    monkeypatch.delenv("FEDREC_SERVER", raising=False)
    assert federation_of(context(folder.path)).enrolment is None
    assert "taken unsigned" in caplog.text


def test_a_run_s_settings_cannot_choose_the_list_of_devices(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("FEDREC_SERVER", raising=False)
    asked = Context(1, 0, {}, RecordDict(), {"run": str(folder.path), "server": str(tmp_path)})
    assert federation_of(asked).enrolment is None


def test_a_server_whose_list_of_devices_is_missing_does_not_train(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDREC_SERVER", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"enrolments.db does not exist"):
        federation_of(context(folder.path))
