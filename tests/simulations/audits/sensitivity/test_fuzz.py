"""The sensitivity fuzz as a whole: it passes the pipeline, has teeth, and tells what it found in words."""

import math
from itertools import islice

import pytest

from fedrec.audit.findings import Level
from fedrec.config import Scenario
from simulations.audits.sensitivity import fuzz, sensitivity_checks, sensitivity_findings
from simulations.audits.sensitivity.settings import of_scenario
from tests.simulations.audits.mutants.contributions import MUTANTS
from tests.simulations.audits.mutants.mutant import Mutant


def mutant(name: str) -> Mutant:
    return next(one for one in MUTANTS if one.name == name)


def scenario(**tables: object) -> Scenario:
    return Scenario.model_validate(tables)


@pytest.mark.parametrize("seed", range(3))
def test_the_pipeline_as_it_is_passes(seed: int) -> None:
    findings = sensitivity_findings(None if seed == 1 else scenario(), seed=seed, quick=True)
    assert {check.verdict for check in findings.checks} == {"passed"}
    assert {check.level for check in findings.checks} == {Level.SENSITIVITY}
    assert findings.false_alarm == 0
    assert findings.untested


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_the_pipeline_passes_under_every_seed(seed: int) -> None:
    own = (
        {},
        {"model": {"branches": ("cf", "seq"), "sequence_encoder": "lstm"}, "training": {"local": {"steps": 3}}},
        {"model": {"branches": ("mf",), "members": ("ease", "ials", "markov")}},
        {"training": {"local": {"loss": "bpr", "private_start": "rebuilt"}}, "privacy": {"clipping": "rows"}},
    )
    findings = sensitivity_findings(scenario(**own[seed % 4]), seed=seed, quick=seed % 10 > 0)
    assert {check.verdict for check in findings.checks} == {"passed"}


def test_every_part_comes_near_its_bound_so_that_the_fuzz_has_teeth() -> None:
    for check in sensitivity_checks(None, seed=0, examples=0, quick=True):
        near = check.figures.get("largest_change", check.figures.get("largest_share", 1.0))
        assert near is not None
        assert near == pytest.approx(1.0, abs=0.001)


def test_a_counterexample_is_small_and_told_in_words() -> None:
    with mutant("clip off").broken():
        check = next(sensitivity_checks(scenario(), seed=0, quick=True))
    assert check.verdict == "violated"
    assert check.found.startswith("Too far: with a model of cf+mf+seq (gru) over 8 items, trained by one step of sgd")
    assert "one user, taking away the user who had 2 events with 2 items moves the sum by" in check.found
    assert "1 is allowed" in check.found
    assert check.figures["largest_change"] is not None
    assert check.figures["largest_change"] > 2


def test_random_cases_find_what_no_crafted_one_is_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "crafted_cases", lambda *arguments: ())
    with mutant("clip off").broken():
        check = next(sensitivity_checks(None, seed=3, examples=20))
    assert (check.name, check.verdict) == ("sensitivity-of-common-steps", "violated")


def test_the_same_seed_finds_the_same() -> None:
    first, second = (list(islice(sensitivity_checks(None, seed=7, quick=True), 3)) for _ in range(2))
    assert first == second


def test_a_run_s_own_training_comes_first_as_it_is_set() -> None:
    run = scenario(
        model={"branches": ("mf",), "members": ("recent-popularity", "pca"), "dim": 32},
        training={"local": {"loss": "bpr", "steps": 2}},
        privacy={"clipping": "rows", "clip_norm": 0.5},
    )
    tight, own = of_scenario(run)
    assert own.words == (
        "a model of mf over 8 items, trained by 2 steps of sgd on bpr, clipped to 0.5, rows clipped to 0.1"
    )
    assert tight.clip_norm == 0.0005
    assert next(sensitivity_checks(run, seed=0, quick=True)).name == "sensitivity-of-this-run"


def test_a_model_of_members_alone_has_no_training_of_its_own() -> None:
    run = scenario(model={"branches": (), "members": ("ease",)}, training={"rounds": 0})
    assert next(sensitivity_checks(run, seed=0, quick=True)).name == "sensitivity-of-common-steps"


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "is_installed", lambda: False)
    (check,) = sensitivity_findings(None, seed=0).checks
    assert check.verdict == "not run"
    assert "pip install 'fedrec[audit]'" in check.found


def test_a_part_that_never_has_a_sum_is_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise ValueError("no sum today")

    monkeypatch.setattr("fedrec.training.cohort.train_cohort", failing)
    check = next(sensitivity_checks(None, seed=0, quick=True))
    assert check.verdict == "not run"
    assert "no sum today" in check.found


def test_a_fuzz_without_teeth_says_so() -> None:
    found = fuzz.Found(cases=10, largest=0.3, worst=None)
    part = fuzz.Part(name="x", of="y", crafted=(), draw=lambda draw: pytest.fail("nothing is drawn"))
    assert fuzz._check(part, found).verdict == "warned"


def test_infinite_figures_are_none() -> None:
    assert fuzz._figure(math.inf) is None
