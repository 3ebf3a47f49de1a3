"""Whole runs under each placement: the model of central noise but for the noise, and a ledger that says who is safe."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clients.policy import Policy
from fedrec.config import PrivacyConfig, TrainingConfig
from fedrec.errors import RoundFailedError
from fedrec.flower.state import RoundReport
from fedrec.flower.terms import Hooks
from fedrec.privacy.accounts.audit import audit_ledger
from fedrec.privacy.accounts.entries import Charge, Outcome, Published
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.events import DiscreteSum
from fedrec.privacy.guarantee import Guarantee
from fedrec.privacy.mechanism import Mechanism
from fedrec.privacy.placement import Dimensions, placed
from fedrec.privacy.planning.run import RunPlan, guarantee_of
from server.app import metrics_row

STAGES = (
    "privacy.enabled=true",
    "privacy.epsilon=1e9",
    "privacy.amplification=false",
    "training.sample_rate=1.0",
    "training.server_optimizer=sgd",
    "training.server_learning_rate=1.0",
    'model.branches=["mf"]',
    'model.members=["ease", "ials"]',
    "training.rounds=2",
    "training.ials_rounds=1",
    "training.fusion_rounds=1",
    "training.evaluation_share=0.4",
)
"""Statistics, updates, item solves, the fusion's weights and ranks. Adam would blow up what noise there is."""

SUMMED = ("privacy.placement=distributed", "privacy.fixed_point_bits=31")
PLACES = {
    "device": (["privacy.placement=device"], "server"),
    "skellam": ([*SUMMED, "privacy.noise=skellam"], "secure-sum"),
    "shares": ([*SUMMED, "privacy.noise=discrete-gaussian"], "secure-sum"),
    "discrete": (["privacy.noise=discrete-gaussian"], "broadcast"),
}


@pytest.fixture
def hardly_any_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan every release with a noise multiplier of 1e-5, whatever it costs."""

    def plan(
        privacy: PrivacyConfig, training: TrainingConfig, population: int, dimensions: Dimensions | None = None
    ) -> RunPlan:
        assert dimensions is not None

        def one(clip_norm: float, dimension: int) -> Mechanism:
            usual = {"sample_rate": training.sample_rate, "population": population, "amplified": False}
            return placed(Mechanism(clip_norm=clip_norm, noise_multiplier=1e-5, **usual), privacy, dimension)

        return RunPlan(
            training=one(privacy.clip_norm, dimensions.training),
            popularity=one(1.0, dimensions.popularity),
            evaluation=one(1.0, dimensions.evaluation),
            rounds=training.released_rounds,
            epsilon_budget=1e12,
            delta=1e-3,
            guarantee=guarantee_of(privacy),
        )

    monkeypatch.setattr("server.federation.plan_run", plan)


def let_everything(folder: Path) -> None:
    """Have the owners of all nodes agree to whatever it costs."""
    policy = Policy(consent=True, epsilon=1e12, min_noise_multiplier=0.0)
    for path in (folder / "nodes").glob("*/policy.toml"):
        path.write_text(policy.to_toml())


def test_almost_without_noise_every_placement_gives_the_model_of_central_noise(make_bench, hardly_any_noise):
    central = make_bench("central")
    let_everything(central.folder)
    expected = central.train(*STAGES).state
    for name, (settings, adversary) in PLACES.items():
        bench = make_bench(name)
        let_everything(bench.folder)
        found = bench.train(*STAGES, *settings).state
        for tensor_name, tensor in expected.shared.items():  # what EASE solves for magnifies what noise there is
            torch.testing.assert_close(found.shared[tensor_name], tensor, atol=3e-3, rtol=1e-2)
        moved = float((found.ranks - expected.ranks).abs().sum()) * expected.roster.population / 2
        assert moved < 2.1  # users whose event has another rank: of two items that score alike, noise decides
        charges = Ledger(bench.folder / "ledger.jsonl").charges()
        assert [charge.round for charge in charges] == [0, 1, 2, 3, 4, 5]
        assert {charge.guarantee.adversary for charge in charges} == {adversary}


ONE_ROUND = (
    "privacy.enabled=true",
    "privacy.epsilon=40",
    "training.rounds=1",
    "training.popularity_start=false",
    'model.branches=["mf"]',
)
DEVICE = (*ONE_ROUND, "privacy.placement=device", "training.sample_rate=1.0")
SHARES = (*ONE_ROUND, "privacy.placement=distributed", "privacy.noise=skellam", "training.sample_rate=1.0")


def lines(folder: Path) -> list[Charge | Outcome]:
    return [entry for entry in Ledger(folder / "ledger.jsonl").entries() if not isinstance(entry, Published)]


@pytest.mark.parametrize(
    ("settings", "adversary"), [(DEVICE, "server"), (SHARES, "secure-sum")], ids=["device", "shares"]
)
def test_server_and_devices_charge_the_same_claim_and_each_ledger_holds(bench, settings, adversary):
    bench.train(*settings)
    claim = Guarantee(adjacency="zero-out", adversary=adversary)
    charge, outcome = lines(bench.folder)
    assert charge.guarantee == claim
    assert charge.noise_source == "operating systems of the devices"
    assert outcome.kind == "commit"
    assert audit_ledger(bench.folder / "ledger.jsonl").holds
    nodes = sorted((bench.folder / "nodes").glob("*/ledger.jsonl"))
    assert len(nodes) == 3
    for path in nodes:
        (own,) = Ledger(path).charges()
        assert (own.guarantee, own.event, own.noise_source) == (claim, charge.event, "operating system")
        assert own.epsilon == pytest.approx(charge.epsilon)


class Interrupt(BaseException):
    """What a crash looks like from inside."""


@pytest.mark.parametrize("settings", [DEVICE, SHARES], ids=["device", "shares"])
def test_a_crash_between_charge_and_sending_leaves_the_charge_and_the_round_is_charged_again(
    bench, settings, monkeypatch
):
    def crash(*arguments: object, **named: object) -> None:
        assert [type(entry) for entry in lines(bench.folder)] == [Charge]  # on the disk before anybody is asked
        raise Interrupt

    monkeypatch.setattr("fedrec.flower.asking.task_message", crash)
    with pytest.raises(Interrupt):
        bench.train(*settings)
    monkeypatch.undo()
    bench.train(*settings, "privacy.epsilon=90", "privacy.noise_multiplier=2.0")
    assert [entry.round for entry in lines(bench.folder) if isinstance(entry, Charge)] == [1, 1]


def silence(bench, number: int) -> None:
    """Have the owner of one node of three withdraw consent after enrolment."""
    path = bench.folder / "nodes" / f"node-{number:06d}" / "policy.toml"
    path.write_text(replace(Policy.load(path), min_noise_multiplier=99.0).to_toml())


def test_a_round_of_too_few_shares_steps_nothing_and_charges_what_it_showed(bench):
    settings = (*SHARES, "privacy.minimum_users=30", "federation.minimum_replies=0.3")
    silence(bench, 1)
    before = bench.federation(*settings).initial()
    reports: list[RoundReport] = []
    hooks = Hooks(on_round=lambda report, state: reports.append(report))
    state = bench.train(*settings, hooks=hooks).state
    assert state.round == 1
    assert [metrics_row(report)["void"] for report in reports if report.round] == [True]
    for name, tensor in state.shared.items():
        assert torch.equal(tensor, before[name])
    whole, fewer, *outcomes = lines(bench.folder)
    assert isinstance(whole.event, DiscreteSum)
    assert isinstance(fewer.event, DiscreteSum)
    assert fewer.event.shares < 30 == whole.event.shares
    assert fewer.event.variance == pytest.approx(whole.event.variance)
    assert fewer.epsilon > whole.epsilon
    assert [outcome.kind for outcome in outcomes] == ["abort", "abort"]
    assert f"{fewer.event.shares} users added their share of noise, 30 make up the whole" == outcomes[0].reason


def test_f71_what_too_few_nodes_sent_stays_charged_and_the_round_s_number_is_used_up(bench):
    silence(bench, 0)
    reports: list[RoundReport] = []
    state = bench.train(
        *DEVICE,
        "federation.minimum_replies=1.0",
        hooks=Hooks(on_round=lambda report, state: reports.append(report)),
    ).state
    assert (state.round, state.abandoned) == (1, 1)
    assert "2 of 3 nodes replied usably, 3 are needed" in str(reports[-1].abandoned)
    charge, outcome = lines(bench.folder)
    assert (charge.round, outcome.kind, outcome.reason) == (1, "abort", "too few nodes replied usably")


def test_after_as_many_rounds_in_a_row_as_are_allowed_the_run_ends(bench):
    silence(bench, 0)
    with pytest.raises(RoundFailedError, match="2 of 3 nodes replied usably, 3 are needed"):
        bench.train(*DEVICE, "federation.minimum_replies=1.0", "federation.abandoned_in_a_row=1")
    charge, outcome = lines(bench.folder)
    assert (charge.round, outcome.kind, outcome.reason) == (1, "abort", "too few nodes replied usably")


def test_void_statistics_end_the_run(bench):
    silence(bench, 1)
    settings = (*SHARES, "training.popularity_start=true", "privacy.minimum_users=30", "federation.minimum_replies=0.3")
    with pytest.raises(RoundFailedError, match="bring more nodes online, or lower"):
        bench.train(*settings)


def test_a_capped_cohort_is_never_larger_and_the_ledger_names_the_cap(bench):
    asked: list[int] = []
    hooks = Hooks(on_round=lambda report, state: asked.append(report.sampled_users))
    settings = ("privacy.placement=device", "training.sample_rate=0.9", "privacy.cohort_cap=21", "training.rounds=4")
    bench.train(*ONE_ROUND, *settings, hooks=hooks)
    assert asked == [21, 21, 21, 21]
    charges = [entry for entry in lines(bench.folder) if isinstance(entry, Charge)]
    assert {charge.mechanism.cohort_cap for charge in charges} == {21}


def test_a_device_that_was_asked_for_less_noise_than_its_owner_demands_refuses(bench):
    for path in (bench.folder / "nodes").glob("*/policy.toml"):
        path.write_text(replace(Policy.load(path), required_placement="device").to_toml())
    with pytest.raises(RoundFailedError, match='required_placement = "device", asked was central noise'):
        bench.train(*ONE_ROUND, "training.sample_rate=1.0")
    bench.train(*DEVICE)
