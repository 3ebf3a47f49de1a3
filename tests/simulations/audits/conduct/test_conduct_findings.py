"""The audit of conduct: a watched run of the production keeps its promises, and what it sees is what happened."""

import json

import numpy as np
import pytest

from fedrec.config import parse_scenario
from fedrec.errors import ConfigError
from fedrec.flower.wire import read_task
from simulations.audits.conduct.bookkeeping import bookkeeping_checks
from simulations.audits.conduct.cohorts import played
from simulations.audits.conduct.findings import conduct_checks, conduct_findings, watched
from simulations.audits.conduct.messages import independence_check
from simulations.audits.conduct.watch import Drawn, Kept, Shown
from simulations.audits.probe import EPSILON, ITEMS, Probe, Size, probe_of

QUICK = ((),)
PLACEMENTS = (
    *QUICK,
    ("privacy.placement=distributed", "privacy.noise=skellam"),
    ("privacy.correlation=banded",),
    ("privacy.placement=device",),
    ("privacy.clipping=adaptive", "federation.codec.name=int8"),
    ('model.members=["ease", "ials"]', "training.evaluation_share=0.2", "privacy.cohort_cap=80"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def small(*settings: str, **size: int) -> Probe:
    """Return a small probe."""
    return probe_of(parse_scenario({}, settings), seed=4, size=Size(**{"users": 8, "nodes": 2, **size}))


@pytest.mark.parametrize(
    "settings",
    [*QUICK, *(pytest.param(other, marks=pytest.mark.slow) for other in PLACEMENTS[len(QUICK) :])],
    ids=" ".join,
)
def test_the_production_keeps_its_promises(settings):
    findings = conduct_findings(parse_scenario({}, settings), seed=1, quick=True)
    names = {check.name for check in findings.checks}
    assert {
        "charge-before-noise",
        "one-charge-per-release",
        "no-unledgered-release",
        "published-model-on-ledger",
        "messages-allowed",
        "messages-independent-of-data",
        "private-stays",
        "device-charge-before-reply",
        "retry-same-bytes",
        "public-divisor",
    } <= names
    assert ("participation-contract" in names) == ("privacy.correlation=banded" in settings)
    assert [(check.name, check.found) for check in findings.checks if check.verdict != "passed"] == []


def test_a_scenario_without_privacy_claims_nothing():
    (check,) = conduct_checks(parse_scenario({}, ["privacy.enabled=false"]), seed=1, quick=True)
    assert check.verdict == "not run"
    with pytest.raises(ConfigError, match="claims nothing"):
        probe_of(parse_scenario({}, ["privacy.enabled=false"]), seed=1)


def test_everything_is_seen_in_the_order_in_which_it_happened(tmp_path):
    run = watched(small(), tmp_path / "run")
    assert not run.failed
    kinds = [type(moment).__name__ for moment in run.watch.moments]
    assert kinds[:4] == ["Sent"] * 4  # two nodes are called and answer
    first = next(moment for moment in run.watch.moments if isinstance(moment, Drawn))
    assert [line["kind"] for line in first.lines] == ["charge"]
    # before that, the roster alone is kept, with the model as it came
    kept = [i for i, one in enumerate(run.watch.moments) if isinstance(one, Kept) and not one.state.awaits_statistics]
    drawn, shown = ([i for i, one in enumerate(run.watch.moments) if isinstance(one, kind)] for kind in (Drawn, Shown))
    assert drawn[0] < kept[0] < shown[0]
    assert {shown.report.round for shown in run.watch.shown()} == {0, 1, 2}
    assert run.watch.now().splitlines() == run.watch.ledger.read_bytes().splitlines()


def test_one_answer_is_lost_and_asked_for_again(tmp_path):
    run = watched(small(), tmp_path / "run")
    (lost,) = [sent for sent in run.watch.messages("reply") if sent.lost]
    again = [sent for sent in run.watch.messages("reply") if sent.nonce == lost.nonce and not sent.lost]
    assert len(again) == 1
    assert again[0].arrays == lost.arrays
    asked = [sent for sent in run.watch.messages("task") if sent.nonce == lost.nonce]
    assert len(asked) == 2


def test_other_people_have_other_histories_and_the_same_turns(tmp_path):
    probe = small()
    one, other = watched(probe, tmp_path / "one"), watched(probe, tmp_path / "other", draw=1)
    assert probe.histories(0).lengths.tolist() != probe.histories(1).lengths.tolist()
    cohorts = [
        [read_task(sent.message).participants.tolist() for sent in run.watch.messages("task")] for run in (one, other)
    ]
    assert cohorts[0] == cohorts[1]
    values = [[sent.arrays for sent in run.watch.messages("reply")] for run in (one, other)]
    assert values[0] != values[1]
    assert independence_check(one.watch, other.watch).verdict == "passed"


def test_a_run_that_breaks_off_says_why_and_is_no_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("clients.node._misfit", refuse_all)
    checks = list(conduct_checks(parse_scenario({}, []), seed=1, quick=True))
    assert "conduct-run" in {check.name for check in checks if check.verdict == "not run"}
    refused = next(check for check in checks if check.name == "messages-allowed")
    assert "refused" in refused.found


def refuse_all(task, store):
    """Object to every task."""
    from clients.policy import Objection
    from fedrec.rounds import RefusalReason

    return Objection(reason=RefusalReason.CONSENT, detail="no")


def test_bookkeeping_reads_the_ledger_as_it_was_then_and_not_as_it_is(tmp_path):
    run = watched(small(), tmp_path / "run")
    first = next(i for i, moment in enumerate(run.watch.moments) if isinstance(moment, Drawn))
    moment = run.watch.moments[first]
    assert isinstance(moment, Drawn)
    run.watch.moments[first] = Drawn(ledger=b"", round=moment.round)
    broken = {check.name for check in bookkeeping_checks(run.watch, run.initial) if check.verdict == "violated"}
    assert broken == {"charge-before-noise"}


def test_a_stand_in_answers_so_that_cohorts_and_divisors_show(tmp_path):
    scenario = parse_scenario({}, ['model.branches=["mf"]', "training.popularity_start=false"])
    probe = probe_of(scenario, seed=4, size=Size(users=200, nodes=1, rounds=4, cohort=0.01))
    one, other = (played(probe, tmp_path / f"{seed}.jsonl", cohort_seed=seed) for seed in (1, 2))
    assert one.took_part.shape == (4, 200)
    assert one.took_part.sum(axis=1).tolist() != other.took_part.sum(axis=1).tolist()
    assert one.models == other.models
    assert len(set(one.models)) == 4
    charges = [
        line for line in map(json.loads, (tmp_path / "1.jsonl").read_bytes().splitlines()) if line["kind"] == "charge"
    ]
    assert {charge["mechanism"]["population"] for charge in charges} == {200}


# --- the probe ----------------------------------------------------------------------------------------------------
def test_a_probe_keeps_what_bounds_and_noises_and_makes_the_rest_small():
    settings = (
        "privacy.clipping=rows",
        "privacy.clip_norm=0.7",
        "privacy.row_clip_norm=0.2",
        "privacy.noise_multiplier=1.7",
        "privacy.adjacency=replace-one",
        "training.local.steps=4",
        "training.local.loss=bpr",
        "training.local.learning_rate=0.3",
        "federation.codec.name=int8",
        "privacy.population_ledger=/somewhere/else.jsonl",
        "privacy.population_epsilon=3",
    )
    scenario = parse_scenario({}, settings)
    probe = probe_of(scenario, seed=9)
    kept = (
        "placement",
        "noise",
        "clipping",
        "clip_norm",
        "row_clip_norm",
        "noise_multiplier",
        "adjacency",
        "amplification",
    )
    for key in kept:
        assert getattr(probe.scenario.privacy, key) == getattr(scenario.privacy, key), key
    assert probe.scenario.privacy.population_ledger == "", "an audit must not charge anybody"
    assert probe.scenario.privacy.epsilon == EPSILON
    assert probe.scenario.training.local.model_dump() == {
        **scenario.training.local.model_dump(),
        "steps": 3,
        "num_negatives": 6,
        "private_steps": 2,
    }
    assert probe.scenario.federation.codec == scenario.federation.codec.model_copy(update={"rank": 2})
    assert probe.scenario.model.dim == 4
    assert probe.catalogue.num_items == ITEMS


def test_a_probe_of_a_run_has_the_noise_of_its_ledger():
    from fedrec.privacy.mechanism import Mechanism

    own = Mechanism(clip_norm=1.0, noise_multiplier=3.25, sample_rate=0.25, population=943)
    assert probe_of(parse_scenario({}, []), (own,), seed=1).scenario.privacy.noise_multiplier == 3.25


def test_people_of_a_probe_are_drawn_by_its_seed():
    one, same, other = (small().histories(), small().histories(), probe_of(parse_scenario({}, []), seed=5).histories())
    np.testing.assert_array_equal(one.items, same.items)
    assert one.items.tolist() != other.items.tolist()
    assert one.ratings is not None
    assert one.times is not None


@pytest.mark.slow
@pytest.mark.parametrize("settings", PLACEMENTS, ids=" ".join)
def test_a_hundred_seeds_find_nothing_in_the_production(settings):
    scenario = parse_scenario({}, settings)
    for seed in range(100):
        assert not conduct_findings(scenario, seed=seed, quick=True).violations


@pytest.mark.slow
@pytest.mark.parametrize("settings", PLACEMENTS, ids=" ".join)
def test_the_long_audit_finds_nothing_in_the_production(settings):
    findings = conduct_findings(parse_scenario({}, settings), seed=1)
    assert [(check.name, check.found) for check in findings.checks if check.verdict != "passed"] == []
