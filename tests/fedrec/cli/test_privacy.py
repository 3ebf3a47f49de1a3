"""``fedrec privacy plan`` and ``fedrec privacy report``, through the program's own rim."""

import json
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedrec.cli.main import run
from fedrec.config import Scenario
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.events import SampledGaussian
from fedrec.privacy.guarantee import INTERACTION_LEVEL
from fedrec.privacy.mechanism import Mechanism
from fedrec.runs.folder import RunFolder

REFERENCE = ["--noise-multiplier", "1", "--sample-rate", "0.01", "--rounds", "1000", "--delta", "1e-6"]
FEW = ["--sample-rate", "0.1", "--rounds", "3"]
SMALL = ["--noise-multiplier", "4", "--sample-rate", "1", "--rounds", "3"]


def plan(capsys, *options):
    assert run(["privacy", "plan", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def error_of(capsys, *arguments):
    assert run(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture
def ledger(tmp_path):
    """A ledger of one histogram, two rounds and one step of the layer on the device."""
    ledger = Ledger(RunFolder.create(tmp_path / "run", Scenario()).ledger_path)
    budget = Budget(epsilon=6.0, delta=1e-5)
    everybody = Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=1.0, population=900)
    usual = {"run_id": "r1", "mechanism": everybody, "noise_source": "operating system"}
    ledger.charge(Release(round=0, name="popularity", **usual), budget)
    ledger.charge(Release(round=1, name="training", **usual), budget)
    ledger.charge(Release(round=2, name="training", **usual), budget)
    ledger.charge(Release(round=2, name="interaction", guarantee=INTERACTION_LEVEL, **usual), budget)
    return ledger


def test_the_reference_plan_costs_what_the_literature_says(capsys):
    result = plan(capsys, *REFERENCE)
    assert result["epsilon"] == pytest.approx(2.1245, abs=1e-4)
    assert round(result["epsilon"], 2) == 2.12
    assert result["epsilon_rdp"] == pytest.approx(2.437, abs=1e-3)


def test_a_plan_names_unit_adjacency_adversary_and_assumptions(capsys):
    result = plan(capsys, *SMALL)
    assert result["unit"].startswith("user")
    assert result["adjacency"].startswith("add or remove one user")
    assert result["adversary"].startswith("broadcast")
    assert not any("Poisson" in assumption for assumption in result["assumptions"])  # everybody is in every round
    sampled = plan(capsys, "--noise-multiplier", "4", *FEW)
    assert any("Poisson" in assumption for assumption in sampled["assumptions"])
    assert result["not_covered"]


def test_a_plan_for_a_budget_solves_the_noise_and_stays_within(capsys):
    result = plan(capsys, "--epsilon", "4", "--delta", "1e-5", "--sample-rate", "1", "--rounds", "10")
    assert result["solved_for"] == "noise_multiplier"
    assert result["noise_multiplier"] == pytest.approx(3.42, rel=5e-3)
    assert 3.99 < result["epsilon"] <= 4.0


def test_a_plan_says_how_long_a_budget_lasts(capsys):
    result = plan(capsys, "--epsilon", "4", "--noise-multiplier", "8", "--sample-rate", "1")
    assert (result["solved_for"], result["epsilon"] <= 4.0) == ("rounds", True)


def test_a_plan_says_how_many_may_take_part(capsys):
    result = plan(capsys, "--epsilon", "4", "--noise-multiplier", "2", "--rounds", "4")
    assert (result["solved_for"], result["epsilon"] <= 4.0) == ("sample_rate", True)


def test_a_population_turns_noise_into_noise_of_the_mean(capsys):
    result = plan(capsys, *SMALL, "--population", "900", "--clip-norm", "0.5")
    assert (result["expected_cohort"], result["noise_std_of_sum"]) == (900, 2.0)
    assert result["noise_std_of_mean"] == pytest.approx(2.0 / 900)


def test_without_sampling_amplification_changes_nothing(capsys):
    result = plan(capsys, *SMALL)
    assert result["epsilon_without_amplification"] == result["epsilon"] == result["profile"]["1e-05"]


def test_the_table_shows_what_json_shows(capsys):
    assert run(["privacy", "plan", *SMALL, "--population", "900"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "solved for epsilon",
        "noise per coordinate of the mean",
        "epsilon at delta 1e-09",
        "adversary: broadcast",
    ):
        assert words in shown


@pytest.mark.slow  # a matter of time, and of no other machine's
def test_a_plan_is_made_while_somebody_waits(capsys):
    plan(capsys, *SMALL)
    start = time.process_time()
    plan(capsys, "--epsilon", "4", "--sample-rate", "0.2", "--rounds", "40", "--population", "943")
    assert time.process_time() - start < 8  # about 2 on a machine that does nothing else


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilon", "4"], "give the other three"),
        ([*SMALL, "--epsilon", "4"], "give the other three"),
        ([*SMALL, "--delta", "0.01", "--population", "943"], "--delta = 0.01 is not below 1/N for N = 943 users"),
        ([*SMALL, "--delta", "0"], "--delta 0 is not in (0, 1)"),
        (["--noise-multiplier", "0", *FEW], "--noise-multiplier 0 adds no noise, epsilon is infinite"),
        ([*SMALL, "--clip-norm", "-1"], "--clip-norm -1 is not positive"),
        ([*SMALL, "--delta", "auto"], "give --population"),
        ([*SMALL, "--delta", "little"], "--delta little is neither a number nor auto"),
        ([*SMALL, "--placement", "nowhere"], "--placement nowhere is none of central, device, distributed"),
        ([*SMALL, "--adjacency", "nobody"], "--adjacency nobody is none of add-or-remove-one, zero-out, replace-one"),
        ([*SMALL, "--cohort-cap", "3"], "give --population"),
        ([*SMALL, "--group", "0"], "--group 0 is not positive"),
        ([*SMALL, "--plot", "plan.txt"], "plan.txt is neither .png nor .svg"),
        ([*SMALL, "--plot", "/nowhere/plan.png"], "/nowhere/plan.png cannot be written"),
        (["--noise-multiplier", "1", "--cohort", "3", "--rounds", "3"], "--cohort stands in place of --sample-rate"),
        (
            ["--epsilon", "4", "--noise-multiplier", "9", "--rounds", "3", "--placement", "device"],
            "without amplification",
        ),
        (["--noise-multiplier", "nan", *FEW], "--noise-multiplier nan is not positive"),
        (["--noise-multiplier", "1", "--sample-rate", "1.5", "--rounds", "3"], "--sample-rate 1.5 is not in (0, 1]"),
        (["--noise-multiplier", "1", "--sample-rate", "0.1", "--rounds", "0"], "--rounds 0 is not positive"),
        (["--epsilon", "0.1", "--noise-multiplier", "1", "--sample-rate", "1"], "is below what one round costs"),
        (["--epsilon", "-2", "--noise-multiplier", "1", "--sample-rate", "1"], "--epsilon -2 is not positive"),
    ],
)
def test_a_plan_that_cannot_be_made_gets_one_line(capsys, options, message):
    assert message in error_of(capsys, "privacy", "plan", *options)


def test_a_cohort_of_a_population_is_a_sample_rate_and_delta_may_follow_from_the_number_of_users(capsys):
    options = [
        "--noise-multiplier",
        "4",
        "--cohort",
        "1000",
        "--rounds",
        "3",
        "--population",
        "1000",
        "--delta",
        "auto",
    ]
    result = plan(capsys, *options)
    assert (result["sample_rate"], result["expected_cohort"]) == (1.0, 1000)
    assert result["delta"] == pytest.approx(1000**-1.1)


def test_a_plan_against_the_server_counts_everybody_every_round(capsys):
    result = plan(capsys, "--noise-multiplier", "9", *FEW, "--placement", "device", "--population", "900")
    everybody = SampledGaussian(noise_multiplier=9.0, sample_rate=1.0, steps=3)
    assert result["epsilon"] == epsilon_pld([everybody], 1e-5)
    assert (result["adversary"][:6], result["sample_rate"]) == ("server", 0.1)
    assert result["noise_std_of_sum"] == pytest.approx(9.0 * 90**0.5)


def test_a_plan_for_replaced_users_is_that_of_half_the_noise(capsys):
    result, half = (
        plan(capsys, "--noise-multiplier", noise, "--sample-rate", "1", "--rounds", "3", *more)
        for noise, more in (("4", ["--adjacency", "replace-one"]), ("2", []))
    )
    assert result["epsilon"] == pytest.approx(half["epsilon"])
    assert result["adjacency"] == "replace one user by any other"


def test_a_plan_tells_what_a_household_and_a_search_cost(capsys):
    result = plan(capsys, *SMALL, "--group", "3", "--trials", "10")
    third = SampledGaussian(noise_multiplier=4 / 3, sample_rate=1.0, steps=3)
    assert result["epsilon_of_group"] == {"3": pytest.approx(epsilon_pld([third], 1e-5))}
    cost = result["search"]
    assert cost["epsilon_of_one_rdp"] < cost["epsilon_of_best_geometric"] < cost["epsilon_of_all"]
    assert run(["privacy", "plan", *SMALL, "--trials", "10"]) == 0
    assert "epsilon of 10 runs, all counted" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["plan.png", "plan.svg"])
def test_a_plan_draws_its_trade_off(capsys, tmp_path, name):
    result = plan(capsys, *SMALL, "--plot", str(tmp_path / name))
    assert (tmp_path / name).stat().st_size > 10_000
    trade = result["trade_off"]
    planned = next(line for line in trade["lines"] if line["name"] == "as planned")
    assert planned["epsilons"][trade["noise_multipliers"].index(4.0)] == pytest.approx(result["epsilon"], rel=1e-3)


def test_what_two_runs_spent_is_added_up(capsys, tmp_path, ledger):
    everybody = Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=1.0, population=900)
    other = Ledger(tmp_path / "other.jsonl")
    release = Release(run_id="r2", round=1, name="training", mechanism=everybody, noise_source="operating system")
    other.charge(release, Budget(epsilon=6.0, delta=1e-6))
    assert run(["privacy", "spent", str(ledger.path.parent), str(other.path), "--json"]) == 0
    user, interaction = json.loads(capsys.readouterr().out)
    assert user["epsilon"] == epsilon_pld([everybody.event] * 4, 1e-6)
    assert (user["releases"], user["runs"], user["delta"], interaction["releases"]) == (4, ["r1", "r2"], 1e-6, 1)
    assert run(["privacy", "spent", str(ledger.path), str(other.path)]) == 0
    assert "epsilons of different guarantees do not add up" in capsys.readouterr().out


def test_a_report_states_each_account_of_a_run(capsys, ledger):
    assert run(["privacy", "report", str(ledger.path.parent), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    user, interaction = report["claims"]
    assert user["epsilon"] == epsilon_pld(ledger.events(), 1e-5)
    assert user["epsilon_left"] == pytest.approx(6.0 - user["epsilon"])
    counts = [sum(stage["times"] for stage in claim["stages"]) for claim in (user, interaction)]
    assert (counts, report["ledger"]["runs"]) == ([3, 1], ["r1"])
    assert report == json.loads(RunFolder(ledger.path.parent).privacy_path.read_text())
    assert interaction["unit"].startswith("interaction")


def test_a_report_tells_what_a_household_loses(capsys, ledger):
    assert run(["privacy", "report", str(ledger.path), "--group", "3", "--json"]) == 0
    user = json.loads(capsys.readouterr().out)["claims"][0]
    third = SampledGaussian(noise_multiplier=4 / 3, sample_rate=1.0, steps=3)
    assert user["epsilon_of_group"] == {"3": pytest.approx(epsilon_pld([third], 1e-5))}
    assert "--group 0 is not positive" in error_of(capsys, "privacy", "report", str(ledger.path), "--group", "0")


def test_a_report_is_readable_from_the_ledger_file_too(capsys, ledger):
    assert run(["privacy", "report", str(ledger.path)]) == 0
    shown = capsys.readouterr().out
    for words in ("left of the budget", "popularity", "training", "interaction", "uncovered: "):
        assert words in shown


def test_a_report_of_a_run_without_releases_says_so(capsys, tmp_path):
    folder = RunFolder.create(tmp_path / "run", Scenario())
    assert "is missing or empty" in error_of(capsys, "privacy", "report", str(folder.path))


def checkpoint_on(folder, head):
    """Write a checkpoint that rests on the ledger's line with hash ``head``."""
    told = {"run_id": "r1", "round": 2, "ledger_head": head, "roster": [], "digest": "", "catalogue_digest": ""}
    path = folder.checkpoints / "round-000002.safetensors"
    save_file({"shared.w": np.zeros(1, np.float32)}, path, metadata={"checkpoint": json.dumps(told)})


def test_a_ledger_that_was_cut_behind_a_checkpoint_is_neither_reported_nor_added_up(capsys, ledger):
    folder = RunFolder(ledger.path.parent)
    checkpoint_on(folder, ledger.head())
    assert run(["privacy", "spent", str(folder.path)]) == 0
    capsys.readouterr()
    folder.ledger_path.write_text("".join(folder.ledger_path.read_text().splitlines(keepends=True)[:-1]))
    for command in ("report", "spent"):
        assert "lacks the line that round-000002.safetensors rests on" in error_of(
            capsys, "privacy", command, str(folder.path)
        )
    assert not folder.privacy_path.exists()


def test_a_run_that_lost_its_ledger_has_no_report_that_nothing_was_released(capsys, ledger):
    folder = RunFolder(ledger.path.parent)
    checkpoint_on(folder, ledger.head())
    folder.ledger_path.unlink()
    told = error_of(capsys, "privacy", "report", str(folder.path))
    assert "does not exist, and the run claims user-level privacy: restore the file" in told


def test_spent_names_ledgers_as_they_were_named(capsys, ledger, monkeypatch):
    monkeypatch.chdir(ledger.path.parent.parent)
    assert run(["privacy", "spent", "run", "run/../run"]) == 0
    shown = capsys.readouterr().out
    assert "run/../run/ledger.jsonl" in shown
    assert str(ledger.path.parent) not in shown
    assert "counted twice" not in shown


def test_a_report_of_nothing_says_so(capsys, tmp_path):
    assert "does not exist" in error_of(capsys, "privacy", "report", str(tmp_path / "nowhere"))


def test_a_report_of_an_edited_ledger_names_the_line(capsys, ledger):
    ledger.path.write_text(ledger.path.read_text().replace('"round":1', '"round":7'))
    assert "ledger.jsonl, line 2 has been edited" in error_of(capsys, "privacy", "report", str(ledger.path))
