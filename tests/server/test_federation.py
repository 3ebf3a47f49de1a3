"""A composed run: trained by the real engine, stopped and resumed, with secrets where the claim needs them."""

import pytest
import torch

from fedrec.errors import BudgetExceededError, ConfigError, ModelMismatchError
from fedrec.flower.identity import task_identity
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.terms import Hooks
from fedrec.models import build_model
from fedrec.privacy.accounts.entries import Published
from fedrec.privacy.accounts.ledger import Ledger
from server.checkpoint import read_checkpoint
from server.federation import Federation, randomness_of

PRIVATE = ("privacy.enabled=true", "privacy.epsilon=50", "privacy.noise_seed=9", "training.sample_rate=1.0")
"""Everybody takes part, where accounting has a closed form."""


class Interrupt(BaseException):
    """What a crash looks like from inside."""


def crash_after(number: int) -> Hooks:
    def hook(report: RoundReport, state: RunState) -> None:
        if report.round == number:
            raise Interrupt

    return Hooks(on_round=hook)


def test_training_moves_the_model_from_the_scenario_s_start(bench):
    outcome = bench.train()
    federation = bench.federation()
    start = build_model(federation.scenario.model, federation.catalogue, 0).shared_state()
    assert outcome.state.round == 3
    assert outcome.stopped is None
    assert outcome.plan is None
    assert not torch.equal(outcome.state.shared["item_tower.id_embedding"], start["item_tower.id_embedding"])
    assert outcome.state.roster.population == len(bench.dataset.splits.final.train)


@pytest.mark.parametrize("settings", [(), PRIVATE], ids=["open", "private"])
def test_a_run_that_crashed_and_went_on_equals_one_that_did_not(make_bench, settings):
    whole = make_bench("whole").train(*settings)
    broken = make_bench("broken")
    with pytest.raises(Interrupt):
        broken.train(*settings, hooks=crash_after(2))
    resumed = broken.train(*settings)
    assert resumed.state.round == 3
    for name, tensor in whole.state.shared.items():
        assert torch.equal(resumed.state.shared[name], tensor), name
    if settings:
        rounds = [charge.round for charge in Ledger(broken.folder / "ledger.jsonl").charges()]
        assert rounds == [0, 1, 2, 3]


def test_every_checkpoint_rests_on_a_line_of_the_ledger_with_its_digest(bench):
    bench.train(*PRIVATE)
    lines = Ledger(bench.folder / "ledger.jsonl").entries()
    published = {line.round: line for line in lines if isinstance(line, Published)}
    paths = sorted((bench.folder / "checkpoints").glob("*.safetensors"))
    assert len(paths) == 3
    for path in paths:
        state, head = read_checkpoint(path)
        assert published[state.round].digest == head["digest"]
        assert published[state.round].hash == state.ledger_head


STAGES = (
    'model.members=["ease", "markov", "ials"]',
    "training.rounds=2",
    "training.ials_rounds=2",
    "training.fusion_rounds=2",
    "training.evaluation_share=0.4",
    "federation.checkpoint_every=1",
)
"""Rounds 1 and 2 train, 3 and 4 solve items, 5 and 6 weigh the fusion, 7 asks for ranks."""


@pytest.mark.parametrize(
    ("settings", "last"), [((), 5), (PRIVATE, 1), (PRIVATE, 3), (PRIVATE, 6)], ids=["open-5", "1", "3", "6"]
)
def test_a_run_that_crashed_in_any_stage_goes_on_to_the_same_model_and_figures(make_bench, settings, last):
    whole = make_bench("whole").train(*settings, *STAGES)
    broken = make_bench("broken")
    with pytest.raises(Interrupt):
        broken.train(*settings, *STAGES, hooks=crash_after(last))
    resumed = broken.train(*settings, *STAGES)
    assert resumed.state.round == 7
    for name, tensor in whole.state.shared.items():
        assert torch.equal(resumed.state.shared[name], tensor), name
    assert torch.equal(resumed.state.ranks, whole.state.ranks)
    if settings:
        charges = Ledger(broken.folder / "ledger.jsonl").charges()
        assert [charge.round for charge in charges] == list(range(8))
        assert charges[-1].event == resumed.plan.evaluation.event


def bytes_up(bench, *settings):
    """Train and return the outcome, with the bytes that came up in the last round."""
    reports = []
    outcome = bench.train(*settings, hooks=Hooks(on_round=lambda report, state: reports.append(report)))
    return outcome, reports[-1].bytes_up


@pytest.mark.parametrize("codec", ["int8", "low-rank"])
def test_under_a_codec_the_private_model_does_not_depend_on_how_users_are_divided(make_bench, codec):
    """What goes into the noised sum is each user's own bounded update, or a linear map of it."""
    settings = (*PRIVATE, "training.rounds=1", f"federation.codec.name={codec}", "federation.codec.rank=2")
    users = len(make_bench("count").dataset.splits.final.train)
    together, one_message = bytes_up(make_bench("together", nodes=1), *settings)
    apart, messages = bytes_up(make_bench("apart", nodes=users), *settings)
    for name, tensor in together.state.shared.items():
        torch.testing.assert_close(apart.state.shared[name], tensor, rtol=0, atol=1e-5)
    plain = bytes_up(make_bench("plain", nodes=1), *PRIVATE, "training.rounds=1")[1]
    assert messages < users * plain
    assert (one_message < plain) == (codec == "low-rank")


@pytest.mark.parametrize("codec", ["fp16", "int8", "low-rank", "row-subset"])
def test_without_privacy_each_codec_sends_less_however_many_users_a_node_has(make_bench, codec):
    chosen = (f"federation.codec.name={codec}", "federation.codec.rank=2", "training.rounds=1")
    assert bytes_up(make_bench(codec), *chosen)[1] < bytes_up(make_bench("plain"), "training.rounds=1")[1]


def test_a_finished_run_is_returned_as_it_is(bench):
    first = bench.train()
    again = bench.train()
    assert again.state.round == 3
    assert all(torch.equal(again.state.shared[name], tensor) for name, tensor in first.state.shared.items())


def test_two_runs_of_one_seed_are_equal_and_of_two_are_not(make_bench):
    one, same = (make_bench(name).train() for name in ("one", "same"))
    other = make_bench("other").train("run.seed=1")
    name = "item_tower.id_embedding"
    assert torch.equal(one.state.shared[name], same.state.shared[name])
    assert not torch.equal(one.state.shared[name], other.state.shared[name])


def test_a_private_run_keeps_its_plan_and_its_ledger_agrees(bench):
    outcome = bench.train(*PRIVATE)
    ledger = Ledger(bench.folder / "ledger.jsonl")
    assert [charge.name for charge in ledger.charges()] == ["popularity", "training", "training", "training"]
    assert {charge.noise_source for charge in ledger.charges()} == {"seeded: 9"}
    assert {charge.mechanism.population for charge in ledger.charges()} == {outcome.state.roster.population}
    assert ledger.spent(1e-3) <= 50
    assert outcome.plan.epsilon_after() == pytest.approx(ledger.spent(1e-3), rel=1e-3)
    assert outcome.state.ledger_head == ledger.head()


def test_a_checkpoint_of_another_model_is_refused_and_left_alone(bench):
    bench.train()
    before = files_of(bench.folder / "checkpoints")
    with pytest.raises(ModelMismatchError, match="belongs to another model"):
        bench.train("model.dim=5")
    assert files_of(bench.folder / "checkpoints") == before


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_epsilon_below_one_round_is_refused_before_anything_is_written(bench):
    with pytest.raises(BudgetExceededError):
        bench.train("privacy.enabled=true", "privacy.epsilon=1e-6")
    assert not (bench.folder / "ledger.jsonl").exists()
    assert not (bench.folder / "checkpoints").exists()


def test_a_delta_as_large_as_one_user_is_refused(bench):
    with pytest.raises(ConfigError, match="delta"):
        bench.train("privacy.enabled=true", "privacy.delta=0.5")


def test_cohorts_are_secret_where_amplification_is_claimed(bench):
    def seeds(*overrides: str) -> tuple[int | None, int | None]:
        randomness = randomness_of(bench.federation("run.seed=5", *overrides).scenario)
        return randomness.cohort_seed, randomness.noise_seed

    assert seeds() == (5, None)
    assert seeds("privacy.enabled=true") == (None, None)
    assert seeds("privacy.enabled=true", "privacy.noise_seed=7") == (5, 7)


def test_a_run_keeps_the_name_that_it_is_given(bench):
    federation = Federation(
        scenario=bench.federation("training.rounds=0").scenario,
        catalogue=bench.dataset.catalogue,
        ledger=bench.folder / "ledger.jsonl",
        run_id="a-name",
    )
    with task_identity(run_id=1):
        assert federation.train(bench.grid).state.run_id == "a-name"
