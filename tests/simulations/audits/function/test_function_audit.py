"""The audit of other people's functions: a correct one passes, each usual mistake is found, bad ones are named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fedrec.audit.evidence.trade_off import epsilon_of
from fedrec.audit.findings import Findings
from fedrec.errors import ConfigError
from simulations.audits.function.audit import function_findings
from simulations.audits.function.subject import Claim, Training

DELTA = 1e-5
Make = Callable[..., Callable[..., Any]]


def claim(mu: float = 1.0, **others: Any) -> Claim:
    return Claim(**{"epsilon": epsilon_of(mu, DELTA), "delta": DELTA, "population": 1000, **others})


def violated(findings: Findings) -> set[str]:
    return {check.name for check in findings.violations}


def test_the_right_noise_passes_and_is_bounded_from_below(aggregator: Make) -> None:
    found = function_findings(aggregator(), claim(), seed=0, draws=500)

    assert violated(found) == set()
    assert [bound.claimed for bound in found.bounds] == [claim().epsilon] * 2
    assert 2.5 < (found.bounds[1].lower or 0) < claim().epsilon


@pytest.mark.slow
def test_the_right_noise_passes_with_twenty_seeds(aggregator: Make) -> None:
    assert all(not violated(function_findings(aggregator(), claim(), seed=seed, draws=1000)) for seed in range(20))


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"noise": 0.0}, "function-silent-numbers"),
        ({"noise": 0.0}, "function-distinguishing"),
        ({"noise": 0.6}, "function-distinguishing"),
        ({"clip": "tensor"}, "function-distinguishing"),
        ({"clip": "off"}, "function-not-finite"),
        ({"clip": "off"}, "function-distinguishing"),
        ({"only": "items"}, "function-distinguishing"),
        ({"seed": 3}, "function-silent-numbers"),
        ({"weighted": True}, "function-distinguishing"),
    ],
)
def test_the_usual_mistakes_are_found(aggregator: Make, broken: dict[str, Any], name: str) -> None:
    # Where the mistake is one of the noise, fewer draws than this would do.
    draws = 700 if broken.get("noise") == 0.6 else 400 if broken.get("clip") == "tensor" else 150

    assert name in violated(function_findings(aggregator(**broken), claim(), seed=0, draws=draws))


@pytest.mark.slow
def test_ten_thousand_draws_find_noise_that_is_a_tenth_too_small(aggregator: Make) -> None:
    found = function_findings(aggregator(noise=0.85), claim(), seed=0, draws=10_000)

    assert "function-distinguishing" in violated(found)


def test_clipping_in_place_does_not_tame_the_next_call() -> None:
    def function(updates: Sequence[Mapping[str, np.ndarray]], rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        for update in updates:
            update["items"][...] = np.nan_to_num(update["items"] / max(1, np.linalg.norm(update["items"]) / 10))
        return {"items": sum(update["items"] for update in updates) + rng.normal(size=(12, 4))}

    found = function_findings(function, claim(), seed=0, draws=100)

    assert violated(found) == {"function-distinguishing"}


class TwiceTheSame:
    """Draws noise in every second call only, and gives it out again in the next."""

    def __init__(self) -> None:
        self.kept: np.ndarray | None = None

    def __call__(
        self, updates: Sequence[Mapping[str, np.ndarray]], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        fresh = self.kept is None
        noise = rng.normal(size=(6, 4)) if self.kept is None else self.kept
        self.kept = noise if fresh else None
        return {"items": noise + sum(np.clip(update["items"][:6], -0.01, 0.01) for update in updates)}


def test_noise_that_comes_twice_within_a_run_is_found() -> None:
    found = function_findings(TwiceTheSame, claim(rounds=4), seed=0, draws=60)

    assert "function-noise-across-rounds" in violated(found)


def test_what_rounds_spend_together_is_held_against_the_claim_for_all(aggregator: Make) -> None:
    function = aggregator()

    assert violated(function_findings(function, claim(1.0, rounds=8), seed=0, draws=150)) == {"function-distinguishing"}
    assert violated(function_findings(function, claim(8**0.5, rounds=8), seed=0, draws=150)) == set()


def test_a_sampled_claim_is_judged_without_assuming_its_curve(aggregator: Make) -> None:
    sampled = Claim(epsilon=1.0, delta=DELTA, population=1000, sample_rate=0.5, rounds=4)

    found = function_findings(aggregator(noise=0.05), sampled, seed=0, draws=150)

    assert violated(found) == {"function-distinguishing"}
    assert len(found.bounds) == 1


def test_a_right_sampled_claim_passes(aggregator: Make) -> None:
    sampled = Claim(epsilon=9.3, delta=DELTA, population=1000, sample_rate=0.5, rounds=3)

    assert violated(function_findings(aggregator(), sampled, seed=0, draws=100)) == set()


def test_own_random_numbers_make_the_audit_harder_but_not_blind(aggregator: Make) -> None:
    source = np.random.default_rng(5)

    def function(updates: Any, rng: np.random.Generator) -> Any:
        return aggregator(clip="off")(updates, source)

    assert "function-distinguishing" in violated(function_findings(function, claim(), seed=0, draws=150))


def test_a_declared_sensitivity_is_tried_with_noise_off() -> None:
    def release(users: Sequence[float], rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        return {"mean": np.array([np.clip(users, 0, 1).sum() / max(1, len(users)) + rng.normal()])}

    training = Training(
        release=release,
        without_noise=lambda users, rng: {"mean": release(users, np.random.default_rng(0))["mean"]},
        users=[0.0] * 5,
        crafted={"somebody at the bound": 1.0},
        sensitivity=1 / 6,
    )

    found = function_findings(training, claim(), seed=0, draws=50)

    # Alone, the user is the mean: the divisor is the private size of the cohort.
    assert violated(found) == {"function-sensitivity"}
    assert found.checks[0].figures["largest"] == pytest.approx(1.0)


def test_what_was_not_looked_at_is_listed(aggregator: Make) -> None:
    def function(updates: Any, rng: np.random.Generator) -> Any:
        if any(not np.isfinite(update["items"]).all() for update in updates):
            raise ValueError("update is not finite")
        return aggregator()(updates, rng)

    found = function_findings(function, claim(), seed=0, draws=50)

    assert any("8 natural users, the claim is for 1000" in text for text in found.untested)
    assert [check.verdict for check in found.checks if check.name == "function-sensitivity"] == ["not run"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda updates, rng: None, "returned NoneType"),
        (lambda updates, rng: {"a": "text"}, "tensor 'a' of the release is str"),
        (lambda updates, rng: {"a": np.zeros(len(updates))}, "must not hang on the users"),
        (lambda updates, rng: updates[99], "IndexError"),
        (lambda updates: {}, "must be called as"),
        ("text", "is str: give a callable"),
    ],
)
def test_a_function_that_cannot_be_audited_is_named_and_never_passes(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        function_findings(function, claim(), seed=0, draws=50)


def test_too_few_draws_are_refused(aggregator: Make) -> None:
    with pytest.raises(ConfigError, match="at least 50"):
        function_findings(aggregator(), claim(), seed=0, draws=10)
