"""A ledger that was forged, its chain whole: each forgery is named by the check that is there for it."""

import math

import pytest

from fedrec.audit.record import record_findings
from fedrec.privacy.accounts.budget import Budget
from fedrec.privacy.accounts.entries import Release
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.mechanism import Correlation, Mechanism
from tests.fedrec.audit.record.judged import (
    charges,
    lines_of,
    set_event,
    set_line,
    set_mechanism,
    verdicts,
    violations,
)

MECHANISM = Mechanism(clip_norm=1.0, noise_multiplier=8.0, sample_rate=1.0, population=900)


def late(lines):
    lines[4]["time"] = "2020-01-01T00:00:00.000+00:00"


def future(lines):
    lines[-1]["time"] = "2999-01-01T00:00:00.000+00:00"


def local_time(lines):
    lines[0]["time"] = "2026-11-22T15:17:32.159+02:00"


def out_of_order(lines):
    charges(lines)[1]["round"], charges(lines)[2]["round"] = 3, 2
    lines[5]["round"], lines[8]["round"] = 3, 2


def committed_first(lines):
    lines[0]["kind"], lines[1]["kind"] = "charge", "commit"
    lines[0], lines[1] = lines[1], lines[0]


def committed_twice(lines):
    lines.append({**lines[1], "charge": 0})


def without_digest(lines):
    del lines[1]["digest"]


def uncharged_model(lines):
    lines[2]["round"] = 7


def one_of_another_population(lines):
    charges(lines)[1]["mechanism"].update(population=901, normaliser=901.0)


def understated(lines):
    charges(lines)[-1]["epsilon"] *= 0.9


def understated_midway(lines):
    charges(lines)[0]["epsilon"] *= 0.5


def same_seed_twice(lines):
    for line in charges(lines):
        line["mechanism"]["noise_source"] = "seeded: 3"
    lines += [{**lines[0], "run": "other"}, {**lines[1], "charge": 9, "digest": "f" * 64}]


def two_streams_sums(lines):
    for line in charges(lines):
        line["event"] = {"type": "correlated-gaussian", "noise_multiplier": 8.0, "stream": "r/training", "steps": 1}
    lines += [dict(lines[0]), {**lines[1], "charge": 9, "digest": "f" * 64}]


FORGERIES = {
    "time runs back": (late, "ledger-time"),
    "a line of the future": (future, "ledger-time"),
    "local time": (local_time, "ledger-time"),
    "rounds out of order": (out_of_order, "ledger-counters"),
    "committed before charged": (committed_first, "outcomes"),
    "committed twice": (committed_twice, "outcomes"),
    "a commit without digest": (without_digest, "outcomes"),
    "a model that was not charged": (uncharged_model, "models-after-charges"),
    "no noise": (set_mechanism(noise_multiplier=0.0), "noise-positive"),
    "an infinite clip norm": (set_mechanism(clip_norm=0.0), "clip-covers-everything"),
    "weights": (set_mechanism(weights="number of events"), "equal-weights"),
    "a population that changes": (one_of_another_population, "public-population"),
    "divided by who came": (set_mechanism(normaliser=871.0), "public-normaliser"),
    "a delta of 1/N": (set_line(delta=1 / 900), "delta-below-one-user"),
    "charged under more noise": (set_event(noise_multiplier=16.0), "event-covers-mechanism"),
    "charged under a lower rate": (set_event(sample_rate=0.5), "event-covers-mechanism"),
    "independent noise as one stream": (
        set_line(event={"type": "correlated-gaussian", "noise_multiplier": 8.0, "stream": "s", "steps": 1}),
        "event-covers-mechanism",
    ),
    "a cap charged as a plain sample": (
        lambda lines: (
            set_mechanism(sample_rate=0.5, cohort_cap=460, sampling="capped poisson", normaliser=450.0)(lines),
            set_event(sample_rate=0.5)(lines),
        ),
        "event-covers-mechanism",
    ),
    "amplified against the server": (
        lambda lines: (set_event(sample_rate=0.5)(lines), set_line(adversary="server")(lines)),
        "amplification-adversary",
    ),
    "amplified where cohorts are shuffled": (
        lambda lines: (set_event(sample_rate=0.5)(lines), set_mechanism(sampling="shuffled batches")(lines)),
        "amplification-adversary",
    ),
    "a total that is too low": (understated, "epsilon-recomputed"),
    "a total that is too low on the way": (understated_midway, "running-totals"),
    "a budget that is passed": (set_line(budget=0.5), "budget-kept"),
    "an event without noise": (set_event(noise_multiplier=0.0), "epsilon-recomputed"),
    "an unknown event": (set_line(event={"type": "magic", "steps": 1}), "epsilon-recomputed"),
    "one seed for two sums": (same_seed_twice, "noise-reuse"),
    "one row of a stream for two sums": (two_streams_sums, "noise-reuse"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_ledger_is_told_by_the_check_that_is_there_for_it(ledger, forge, name):
    change, expected = FORGERIES[name]
    lines = lines_of(ledger)
    change(lines)
    forge(ledger, lines)
    found = violations(ledger)
    assert expected in found
    assert "\n" not in found[expected]


def test_what_is_odd_without_breaking_a_claim_is_a_warning(ledger, forge):
    lines = lines_of(ledger)
    set_mechanism(noise_source="seeded: 3")(lines)
    set_line(code="fedrec 0.0.1")(lines)
    lines[1]["digest"] = "d16e57"
    lines += [dict(lines[6]), {**lines[7], "charge": 9, "digest": f"{3:064x}"}]
    lines[-2]["epsilon"] = 9.0
    forge(ledger, lines)
    found = verdicts(record_findings(ledger))
    assert [found[name] for name in ("noise-source", "code-version", "outcomes", "ledger-counters")] == ["warned"] * 4


@pytest.mark.slow
def test_a_capped_cohort_and_correlated_noise_and_a_count_pass_as_they_are_charged(tmp_path):
    correlation = Correlation(strategy="banded", rounds=6, separation=2, participations=3, sensitivity=math.sqrt(3))
    kinds = [
        Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=0.1, population=900, cohort_cap=95),
        Mechanism(clip_norm=1.0, noise_multiplier=4.0, sample_rate=0.1, population=900, count_noise=8.0),
        Mechanism(
            clip_norm=1.0,
            noise_multiplier=6.0,
            sample_rate=0.5,
            population=900,
            amplified=False,
            correlation=correlation,
        ),
    ]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number, mechanism in enumerate(kinds, 1):
        release = Release(run_id="r", round=number, name="training", mechanism=mechanism, noise_source="x")
        ledger.commit(ledger.charge(release, Budget(epsilon=9.0, delta=1e-5)), "a" * 64)
    audit = record_findings(ledger.path)
    assert audit.findings.violations == ()
    assert audit.mechanisms == tuple(kinds)
