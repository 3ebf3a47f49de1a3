"""A server that is killed in any state of a round, however often: the same model and ledger, nobody asked twice."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from fedrec.aggregation.alarms import Alarm
from fedrec.errors import RoundFailedError
from fedrec.faults import Fault, FaultPlan, What
from fedrec.flower.events import What as Happened
from fedrec.flower.state import RunState
from fedrec.flower.terms import Hooks, Look
from fedrec.privacy.accounting.accountant import epsilon_pld, epsilon_rdp
from fedrec.privacy.accounts.entries import Outcome
from server.checkpoint import KEPT
from server.journal import FileJournal
from tests.server.crashes import Machine
from tests.server.small_run import FIRST, ROUNDS, SmallRun

OPEN = ["round.opening", "journal.opening", "round.opened", "round.collected"]
AGGREGATED = ["round.drawn", "journal.aggregating", "round.aggregated", "round.settled", "round.stepped"]
COMMITTED = ["round.committed", "round.told"]
CHECKPOINT = ["checkpoint.writing", "checkpoint.written"]
EVERY_ROUND = [*OPEN, *AGGREGATED, *COMMITTED]
PRIVATE = [*EVERY_ROUND, "round.charged", *CHECKPOINT]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def kill(where: str, nth: int = 2) -> FaultPlan:
    return FaultPlan(faults=(Fault(where=where, what=What.KILL, nth=nth),))


def assert_same(one: RunState, other: RunState) -> None:
    assert one.round == other.round
    for name, tensor in other.shared.items():
        assert torch.equal(one.shared[name], tensor), name
    for name, tensor in other.optimizer.items():
        assert torch.equal(one.optimizer[name], tensor), name


def assert_ledger_exact(run: SmallRun, rounds: int = ROUNDS) -> None:
    """Each release is charged once and has one outcome; epsilon is that of its recomputation."""
    charges = run.ledger.charges()
    assert [charge.round for charge in charges] == list(range(rounds + 1))
    outcomes = [entry for entry in run.ledger.entries() if isinstance(entry, Outcome)]
    assert sorted(outcome.charge for outcome in outcomes) == sorted(charge.entry for charge in charges)
    assert {outcome.kind for outcome in outcomes} == {"commit"}
    spent = epsilon_pld([charge.mechanism.event for charge in charges], 1e-5)
    assert run.ledger.spent(1e-5) == pytest.approx(spent, rel=1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[bool, tuple[SmallRun, RunState]]:
    """Return runs that nobody disturbed, by whether they are private."""
    made = {}
    for private in (True, False):
        run = SmallRun(tmp_path_factory.mktemp("whole"), private=private)
        made[private] = (run, run.play())
    return made


@pytest.mark.fault
@pytest.mark.parametrize(
    ("private", "where"),
    [*((True, where) for where in PRIVATE), *((False, where) for where in ("round.opened", "round.aggregated"))],
)
def test_a1_killed_in_any_state_of_a_round_the_run_comes_to_the_same_model(tmp_path, whole, private, where):
    run = SmallRun(tmp_path, private=private)
    assert run.killed(kill(where, nth=3 if where == "round.collected" else 2))
    assert_same(run.play(), whole[private][1])
    assert run.trained() == whole[private][0].trained()  # nobody was asked under a second nonce
    if private:
        assert_ledger_exact(run)


@pytest.mark.fault
def test_a1_noise_and_cohorts_that_nobody_can_repeat_are_drawn_once(tmp_path):
    run = SmallRun(tmp_path, secret=True)
    assert run.killed(kill("round.aggregated", nth=3))
    journal = FileJournal(tmp_path / "checkpoints" / "journal")
    opened, found = journal.opened(), journal.aggregated("small", 2)
    assert found is not None
    assert opened is not None
    digest = [entry for entry in run.ledger.entries() if isinstance(entry, Outcome)]
    assert len(digest) == 2  # of rounds 0 and 1: that of round 2 has yet to be written
    run.rounds = 2
    run.play()
    assert len(run.ledger.charges()) == 3
    assert all(len(nonces) == 1 for nonces in nonces_by_round(tmp_path).values())


def nonces_by_round(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in (folder / "nodes").iterdir():
        name, _, nonce = path.name.rpartition(".")
        found.setdefault(name, set()).add(nonce)
    return found


@pytest.mark.fault
def test_a1_killed_after_an_unseeded_cohort_was_drawn_the_same_nodes_are_asked_again(tmp_path):
    run = SmallRun(tmp_path, secret=True, rate=0.5, popularity=False)
    assert run.killed(kill("round.opened", nth=1))
    opened = json.loads((tmp_path / "checkpoints" / "journal" / "open.json").read_text())
    run.rounds = 1
    run.play()
    assert {nonce for nonces in nonces_by_round(tmp_path).values() for nonce in nonces} == set(
        opened["nonces"].values()
    )
    assert run.reports[-1].sampled_users == len(opened["cohort"])


@pytest.mark.fault
def test_a1_rounds_that_no_checkpoint_has_yet_are_taken_from_the_journal_and_the_open_one_is_asked_again(
    tmp_path, whole
):
    run = SmallRun(tmp_path, private=False)  # with a checkpoint after every third round
    assert run.killed(kill("round.collected", nth=3))
    assert run.latest().round == 0
    assert_same(run.play(), whole[False][1])
    assert run.trained() == whole[False][0].trained()


@pytest.mark.fault
def test_a1_a_journal_and_its_folder_are_for_their_owner_alone(tmp_path):
    run = SmallRun(tmp_path)
    run.killed(kill("round.aggregated"))
    journal = tmp_path / "checkpoints" / "journal"
    assert journal.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in journal.iterdir())


@pytest.mark.fault
@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))])
def test_a2_a_machine_that_dies_at_any_system_call_and_loses_what_was_not_synced(tmp_path, monkeypatch, whole, seed):
    run, rng = SmallRun(tmp_path), random.Random(seed)
    machine = Machine(tmp_path, rng)
    for _ in range(4):
        with machine.running(monkeypatch, until=rng.randrange(90)):
            run.play()
    assert_same(run.play(), whole[True][1])
    released = {}
    for entry in run.ledger.entries():
        if isinstance(entry, Outcome) and entry.digest:
            released[entry.charge] = entry.digest
    assert len(set(released.values())) == ROUNDS + 1, f"seed {seed}"  # no round was released as two


@pytest.mark.fault
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a14_a_server_that_is_killed_over_and_over_leaks_nothing_and_ends_as_if_it_had_not_been(tmp_path, whole, kills):
    run = SmallRun(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    states = ["round.opened", "round.drawn", "round.aggregated", "checkpoint.written"]
    for number in range(kills):  # four to a round, of which there are five
        assert run.killed(kill(states[number % len(states)], nth=1)), f"life {number} came to the end"
    assert_same(run.play(), whole[True][1])
    assert_ledger_exact(run)
    assert run.trained() == whole[True][0].trained()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.rglob(".*"))
    assert len(list((tmp_path / "checkpoints").glob("round-*"))) < 2 * KEPT  # those of killed saves go with the next


# --- damaged files ------------------------------------------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("secret", [True, False])
def test_a3_a_lost_checkpoint_is_made_again_from_the_journal_and_nothing_is_released_twice(tmp_path, secret):
    run = SmallRun(tmp_path, secret=secret)
    final = run.play()
    entries = len(run.ledger.charges())
    newest = sorted((tmp_path / "checkpoints").glob("round-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:-3])
    assert_same(run.play(), final)
    assert len(run.ledger.charges()) == entries


@pytest.mark.fault
def test_a3_what_rests_on_a_lost_checkpoint_alone_is_released_anew_charged_anew_and_said_aloud(tmp_path):
    run = SmallRun(tmp_path)
    run.play()
    sorted((tmp_path / "checkpoints").glob("round-*"))[-1].write_bytes(b"")
    shutil.rmtree(tmp_path / "checkpoints" / "journal")
    run.events.clear()
    run.play()
    assert [charge.round for charge in run.ledger.charges()] == [0, 1, 2, 3, 4, 4]
    (alarm,) = [event for event in run.events if event.what is Happened.ALARM]
    assert (alarm.facts["kind"], alarm.round) == ("replay", 4)


@pytest.mark.fault
def test_a3_a_damaged_journal_counts_as_absent_and_says_so(tmp_path, whole):
    run = SmallRun(tmp_path)
    assert run.killed(kill("round.opened"))
    path = tmp_path / "checkpoints" / "journal" / "open.json"
    content = bytearray(path.read_bytes())
    content[content.index(b"nonces") + 30] ^= 1
    path.write_bytes(content)
    journal = FileJournal(path.parent)
    assert journal.opened() is None
    assert "open.json is damaged" in journal.lost[0]
    assert_same(run.play(), whole[True][1])


# --- abandoned rounds ---------------------------------------------------------------------------------------------
@pytest.mark.fault
def test_b32_d49_rounds_that_nobody_answers_are_abandoned_and_the_run_goes_on(tmp_path):
    run = SmallRun(tmp_path, away=((2, 2),))
    state = run.play()
    assert state.round == ROUNDS
    abandoned = [event for event in run.events if event.what is Happened.ROUND_ABANDONED]
    assert [event.round for event in abandoned] == [2, 2]
    assert_ledger_exact(run)


@pytest.mark.fault
def test_b32_after_so_many_abandoned_rounds_in_a_row_the_run_ends_and_can_be_resumed(tmp_path):
    run = SmallRun(tmp_path, away=((2, 2),), limit=2)
    with pytest.raises(RoundFailedError, match="0 of 3 nodes replied usably"):
        run.play()
    before = run.latest()
    assert (before.round, before.abandoned) == (1, 2)
    assert [charge.round for charge in run.ledger.charges()] == [0, 1]
    assert run.play().round == ROUNDS
    assert_ledger_exact(run)


@pytest.mark.fault
def test_b32_a_round_that_is_abandoned_leaves_the_model_s_bytes_as_they_were(tmp_path):
    run = SmallRun(tmp_path, away=((1, 9),), limit=1, popularity=False)
    with pytest.raises(RoundFailedError):
        run.play()
    state = run.latest()
    assert all(torch.equal(state.shared[name], tensor) for name, tensor in FIRST.items())
    assert not run.ledger.path.exists()


@pytest.mark.fault
@pytest.mark.parametrize("where", ["round.abandoned", "checkpoint.written"])
def test_b32_killed_while_a_round_is_abandoned_the_run_comes_to_the_same_model(tmp_path, where):
    undisturbed = SmallRun(tmp_path / "one", away=((2, 1),))
    expected = undisturbed.play()
    run = SmallRun(tmp_path / "other", away=((2, 1),))
    assert run.killed(kill(where, nth=1 if where == "round.abandoned" else 3))
    assert_same(run.play(), expected)
    assert_ledger_exact(run)


@pytest.mark.fault
def test_f71_a_round_of_bad_replies_is_abandoned_and_what_devices_spent_on_it_is_said(tmp_path):
    run = SmallRun(tmp_path, popularity=False, limit=1, bad=dict.fromkeys(range(3), "nan"))
    with pytest.raises(RoundFailedError):
        run.play()
    (event,) = [event for event in run.events if event.what is Happened.ROUND_ABANDONED]
    assert event.facts["spent_on_devices"] == 9  # all users: their devices trained, charged and answered
    assert not run.ledger.path.exists()  # of the aggregate nothing was released


@pytest.mark.fault
def test_f70_epsilon_of_a_run_with_retries_and_kills_is_that_of_an_independent_accountant(tmp_path):
    run = SmallRun(tmp_path, away=((2, 1),), bad={0: "huge"})
    assert run.killed(kill("round.charged", nth=3))
    run.play()
    assert_ledger_exact(run)
    events = [charge.event for charge in run.ledger.charges()]
    spent = run.ledger.spent(1e-5)
    assert epsilon_pld(events, 1e-5) == pytest.approx(spent, rel=1e-3)
    assert spent <= epsilon_rdp(events, 1e-5) <= 1.35 * spent


# --- disks --------------------------------------------------------------------------------------------------------
@pytest.mark.fault
@pytest.mark.parametrize("where", ["checkpoint.writing", "journal.opening", "journal.aggregating"])
def test_c34_a_full_disk_pauses_the_run_raises_an_alarm_and_loses_nothing(tmp_path, whole, where):
    run = SmallRun(tmp_path)
    full = tuple(Fault(where=where, what=What.DISK_FULL, nth=nth) for nth in (2, 3, 4))
    assert_same(run.play(FaultPlan(faults=full)), whole[True][1])
    assert run.slept == [1.0, 2.0, 4.0]
    kinds = [event.facts.get("kind") for event in run.events if event.what is Happened.ALARM]
    assert kinds == ["disk"]
    assert [event.facts["why"] for event in run.events if event.what is Happened.RUN_PAUSED] == ["disk full"]
    assert_ledger_exact(run)


@pytest.mark.fault
def test_c34_killed_while_it_waits_for_room_the_old_state_is_intact(tmp_path, whole):
    run = SmallRun(tmp_path)
    full = FaultPlan(
        faults=(
            Fault(where="checkpoint.writing", what=What.DISK_FULL, nth=3),
            Fault(where="checkpoint.writing", what=What.KILL, nth=4),
        )
    )
    assert run.killed(full)
    assert run.latest().round == 0 or run.latest().round == 1
    assert_same(run.play(), whole[True][1])


# --- alarms -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("on_alarm", "moves"), [("warn", True), ("hold", False)])
def test_an_alarming_step_is_told_and_where_alarms_hold_not_taken(tmp_path, on_alarm, moves):
    def inspect(before, after, report):
        odd = Alarm(kind="growth", text="this moves too far", value=3.0, bound=2.5, items=(4,))
        return Look(alarms=(odd,) if report.round == 2 else (), watch=before.watch)

    seen = {}
    run = SmallRun(tmp_path, on_alarm=on_alarm, hooks=Hooks(inspect=inspect))
    run.rounds = 1
    seen[1] = run.play()
    run.rounds = 2
    seen[2] = run.play()
    same = all(torch.equal(seen[1].shared[name], seen[2].shared[name]) for name in FIRST)
    assert same is not moves
    assert seen[2].round == 2
    told = {"kind": "growth", "text": "this moves too far", "subject": "item 4", "value": 3.0, "bound": 2.5}
    assert [event.facts for event in run.events if event.what is Happened.ALARM] == [told]
    assert any(event.what is Happened.STEP_HELD for event in run.events) is not moves
    assert [charge.round for charge in run.ledger.charges()] == [0, 1, 2]  # what was released is spent either way


def test_events_tell_a_round_from_its_opening_to_its_commit(tmp_path):
    run = SmallRun(tmp_path, rounds=1, popularity=False, rate=1.0)
    run.play()
    told = [event.what.value for event in run.events]
    assert told == [
        "run-began",
        "round-opened",
        *["reply-taken"] * 3,
        "round-aggregated",
        "round-committed",
        "run-ended",
    ]
    assert {event.facts["node"] for event in run.events if event.what is Happened.REPLY_TAKEN} == {
        "node-0",
        "node-1",
        "node-2",
    }
