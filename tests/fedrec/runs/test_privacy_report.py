"""``privacy.json``: of a run's folder, of a ledger alone, with and without the layer on the device."""

import json

import pytest

from fedrec.config import PrivacyConfig, parse_scenario
from fedrec.errors import LedgerError
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.placement import placed
from fedrec.runs.folder import RunFolder
from fedrec.runs.privacy_record import PrivacyReport
from fedrec.runs.privacy_report import interaction_summary, report_of_ledger, report_of_run, write_report_of
from fedrec.runs.report_interaction import interaction_section
from tests.fedrec.runs.privacy_ledgers import BUDGET, EVERYBODY, charged, charged_device

LAYER = {
    "privacy": {"interaction": {"noise_multiplier": 4.0, "sample_rate": 1.0}},
    "training": {"popularity_start": False, "rounds": 6, "local": {"steps": 2}},
    "model": {"branches": ["mf"]},
}


SHARED_OUT = placed(
    Mechanism(**EVERYBODY),
    PrivacyConfig(placement="distributed", noise="skellam", minimum_users=400),
    dimension=20,
)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run", parse_scenario({"run": {"name": "a run"}}))
    charged(folder.ledger_path)
    return folder


@pytest.fixture
def layered(tmp_path):
    """A simulation's folder whose second device spent most."""
    folder = RunFolder.create(tmp_path / "layered", parse_scenario(LAYER))
    charged(folder.ledger_path, rounds=2)
    for number, rounds in enumerate((1, 3, 2)):
        charged_device(folder.nodes / f"node-{number}" / "ledger.jsonl", rounds)
    return folder


def test_a_report_has_every_field_of_its_schema_and_reads_back(run):
    paths = write_report_of(report_of_run(run), run.path)
    assert paths == (run.privacy_path, run.privacy_page_path)
    table = json.loads(run.privacy_path.read_text())
    assert set(table) == set(PrivacyReport.model_fields)
    again = PrivacyReport.model_validate(table)
    assert again.schema_version == 1
    assert again.model_copy(update={"created": ""}) == report_of_run(run).model_copy(update={"created": ""})


def test_a_report_says_what_a_privacy_officer_must_know(run):
    report = report_of_run(run)
    [claim] = report.claims
    assert "epsilon" not in report.sentence
    assert (claim.scope, claim.level, claim.account_of) == ("run", "user", "the server's ledger")
    assert claim.epsilon <= claim.epsilon_rdp
    assert claim.epsilon < claim.epsilon_replace_one
    assert claim.assumptions
    assert {one.observer for one in report.observers} >= {"the user's own device", "operator of the evaluation"}
    assert report.unprotected
    assert report.public
    assert report.tuning.startswith("not declared")
    assert report.gaps
    assert (report.ledger.head, report.ledger.charges) == (last_hash(run.ledger_path), 4)
    assert report.warnings == ()


def last_hash(path):
    return json.loads(path.read_text().splitlines()[-1])["hash"]


def test_the_layer_has_a_claim_of_its_own_from_the_device_that_spent_most(layered):
    report = report_of_run(layered)
    user, interaction = report.claims
    assert (user.level, interaction.level) == ("user", "interaction")
    step = Mechanism(clip_norm=0.5, noise_multiplier=4.0, sample_rate=1.0, population=10)
    assert interaction.epsilon == pytest.approx(epsilon_pld([step.spends(6)], 1e-5))
    assert "spent most, of 3" in interaction.account_of
    assert user.epsilon == report_of_ledger(layered.ledger_path).claims[0].epsilon  # nothing was added
    assert interaction.stages[0].placement == "device"


def test_the_summary_and_the_run_report_state_the_layer_apart(layered):
    summary = interaction_summary(report_of_run(layered))
    assert (summary.chunks, summary.steps, summary.noise_multiplier) == (10, 6, 4.0)
    section = interaction_section(summary)
    assert "neither added nor compared" in section
    assert summary.unit in section
    assert interaction_section(None) == ""


def test_where_devices_keep_their_ledgers_the_settings_bound_what_they_spent(layered):
    for path in layered.nodes.glob("*/ledger.jsonl"):
        path.unlink()
    claim = report_of_run(layered).claims[1]
    step = Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=1.0, population=10)
    assert claim.epsilon == pytest.approx(epsilon_pld([step.spends(12)], 1e-5))  # six rounds of two steps
    assert claim.account_of.startswith("the settings")


def test_a_run_with_the_layer_alone_has_a_report(tmp_path):
    alone = {**LAYER, "privacy": {**LAYER["privacy"], "enabled": False}}
    folder = RunFolder.create(tmp_path / "alone", parse_scenario(alone))
    charged_device(folder.nodes / "node-0" / "ledger.jsonl", rounds=1)
    report = report_of_run(folder)
    assert [claim.level for claim in report.claims] == ["interaction"]
    assert report.ledger is None
    assert "one single event of yours" in report.sentence


def test_a_ledger_alone_is_reported_too_and_says_what_it_does_not_know(run, tmp_path):
    report = report_of_ledger(run.ledger_path)
    assert report.claims[0].epsilon == report_of_run(run).claims[0].epsilon
    assert "a ledger alone" in report.metrics_policy
    device = charged_device(tmp_path / "device.jsonl", rounds=2)
    assert [claim.level for claim in report_of_ledger(device.path).claims] == ["user", "interaction"]
    with pytest.raises(LedgerError, match="missing or empty"):
        report_of_ledger(tmp_path / "nothing.jsonl")


def test_all_runs_on_the_same_people_have_a_claim_of_their_own(tmp_path):
    shared = charged(tmp_path / "people.jsonl", rounds=5)
    table = {"privacy": {"population_ledger": str(shared.path), "population_epsilon": 9.0}}
    folder = RunFolder.create(tmp_path / "run", parse_scenario(table))
    charged(folder.ledger_path, rounds=2)
    own, people = report_of_run(folder).claims
    assert (own.scope, people.scope) == ("run", "population")
    assert people.epsilon > own.epsilon


def test_a_run_that_claims_nothing_says_so(tmp_path):
    folder = RunFolder.create(tmp_path / "open", parse_scenario({"privacy": {"enabled": False}}))
    report = report_of_run(folder)
    assert report.sentence.startswith("No claim is made")
    assert (report.claims, report.standards, interaction_summary(report)) == ((), (), None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise_source": "seeded: 7"}, "whoever knows it can subtract the noise"),
        ({"budget": Budget(epsilon=6.0, delta=0.01)}, "publishing one user outright"),
        (
            {"guarantee": Guarantee(adjacency="zero-out", adversary="secure-sum"), "mechanism": SHARED_OUT},
            "sees single contributions with a share of the noise each",
        ),
    ],
)
def test_what_makes_a_claim_weaker_is_a_warning(tmp_path, change, said):
    ledger = charged(tmp_path / "ledger.jsonl", rounds=0, **change)
    report = report_of_ledger(ledger.path)
    assert any(said in warning for warning in report.warnings)
    assert report.sentence.endswith("But read the warnings.")


def test_a_broken_ledger_has_no_report(run):
    lines = run.ledger_path.read_text().splitlines(keepends=True)
    run.ledger_path.write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(LedgerError):
        report_of_run(run)


def test_every_field_that_a_standard_is_referred_to_exists(layered):
    report = report_of_run(layered)
    table = json.loads(report.model_dump_json())
    for row in report.standards:
        assert row.answer
        for field in row.fields:
            assert reached(table, field.split(".")), field
    assert {row.level for row in report.standards if row.standard.startswith("NIST")} == {
        "parameters",
        "algorithms",
        "trust",
        "collection",
    }
    assert sum(row.level.startswith(f"tier {tier}") for row in report.standards for tier in (1, 2, 3)) == 15


def reached(value, path):
    if isinstance(value, list):
        return all(reached(part, path) for part in value)
    return not path or (path[0] in value and reached(value[path[0]], path[1:]))


@pytest.mark.parametrize(
    ("tuning", "said", "warned"),
    [("undeclared", "not declared", False), ("public", "public data", False), ("uncharged", "without a charge", True)],
)
def test_how_settings_were_chosen_is_declared_and_a_look_without_a_charge_is_a_warning(tmp_path, tuning, said, warned):
    folder = RunFolder.create(tmp_path / "run", parse_scenario({"privacy": {"tuning": tuning}}))
    charged(folder.ledger_path, rounds=0)
    report = report_of_run(folder)
    assert said in report.tuning
    assert any("without a charge" in warning for warning in report.warnings) == warned


def test_a_ledger_of_a_charged_search_says_so_itself(tmp_path):
    ledger = charged(tmp_path / "ledger.jsonl", rounds=0)
    one = Mechanism(**EVERYBODY)
    ledger.charge(Release(run_id="r1", round=1, name="ndcg@10", mechanism=one, noise_source="operating system"), BUDGET)
    assert report_of_ledger(ledger.path).tuning.startswith("charged")
