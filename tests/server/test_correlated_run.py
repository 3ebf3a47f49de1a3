"""Whole runs under correlated noise: by turns, charged once, resumed with the same stream, and never released twice."""

import logging
import shutil
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch

from clients.policy import Policy
from fedrec.errors import LedgerError
from fedrec.flower.releases import Releases
from fedrec.flower.state import RoundReport, RunState
from fedrec.flower.terms import Hooks
from fedrec.privacy.accounting.accountant import epsilon_pld
from fedrec.privacy.accounts.audit import audit_ledger
from fedrec.privacy.accounts.entries import Charge, Outcome, Published
from fedrec.privacy.accounts.ledger import Ledger
from fedrec.privacy.events import CorrelatedGaussian
from server.checkpoint import KEY_FILE

DELTA = 1e-3
ROUNDS = 4
SETTINGS = (
    "privacy.enabled=true",
    "privacy.epsilon=50",
    "privacy.separation=2",
    f"training.rounds={ROUNDS}",
    "training.fusion_rounds=0",
)
SEEDED = (*SETTINGS, "privacy.noise_seed=9")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Interrupt(BaseException):
    """What a crash looks like from inside."""


def crash_in(stage, number):
    """Hooks that let a run crash in a round: before its checkpoint is written, right after, or when all is done."""

    def save(state: RunState) -> None:
        if stage == "saved" and state.round == number:
            raise Interrupt

    def done(report: RoundReport, state: RunState) -> None:
        if stage == "done" and report.round == number:
            raise Interrupt

    return Hooks(on_checkpoint=save, on_round=done)


def ledger_of(bench):
    return Ledger(bench.folder / "ledger.jsonl")


def key_of(bench):
    path = bench.folder / "checkpoints" / KEY_FILE
    return path.read_bytes() if path.exists() else None


def crash(bench, stage, number, monkeypatch, settings=SEEDED):
    draw = Releases.draw

    def dying(self, total, round, *rest):
        mean = draw(self, total, round, *rest)
        if round == number:
            raise Interrupt
        return mean

    with monkeypatch.context() as patch:
        if stage == "released":
            patch.setattr(Releases, "draw", dying)
        with pytest.raises(Interrupt):
            bench.train(*settings, hooks=crash_in(stage, number))


@pytest.mark.parametrize("strategy", ["banded", "tree"])
def test_a_run_takes_users_by_turns_and_is_charged_as_one_release(bench, strategy):
    reports = []
    outcome = bench.train(
        *SETTINGS,
        f"privacy.correlation={strategy}",
        hooks=Hooks(on_round=lambda report, state: reports.append(report)),
    )
    users, ledger = outcome.state.roster.population, ledger_of(bench)
    assert outcome.state.round == ROUNDS
    sizes = [report.sampled_users for report in reports if report.round]
    assert [first + second for first, second in zip(sizes[::2], sizes[1::2], strict=True)] == [users] * (ROUNDS // 2)
    assert not any(report.refused for report in reports)
    events = [charge.event for charge in ledger.charges()[1:]]
    assert {type(event) for event in events} == {CorrelatedGaussian}
    assert len({event.stream for event in events}) == 1
    assert ledger.spent(DELTA) == pytest.approx(epsilon_pld([ledger.events()[0], events[0]], DELTA), rel=1e-3)
    assert outcome.plan.epsilon_after() == pytest.approx(ledger.spent(DELTA), rel=1e-3)
    assert 45 < ledger.spent(DELTA) <= 50
    kinds = [type(entry) for entry in ledger.entries()]
    assert kinds == [Charge, Outcome, Published] + [Charge, Published, Outcome] * ROUNDS  # shown after it is kept
    for path in [ledger.path, *sorted((bench.folder / "nodes").glob("*/ledger.jsonl"))]:
        assert not audit_ledger(path).violations, path


def test_devices_keep_what_they_took_part_in_on_their_own_ledgers(bench):
    bench.train(*SETTINGS, "privacy.correlation=banded")
    for path in sorted((bench.folder / "nodes").glob("*/ledger.jsonl")):
        charges = [charge for charge in Ledger(path).charges() if charge.mechanism.correlation]
        rounds: dict[int, list[int]] = {}
        for charge in charges:
            for user in charge.participants:
                rounds.setdefault(user, []).append(charge.round)
        assert {len(taken) for taken in rounds.values()} == {ROUNDS // 2}
        assert all(set(np.diff(taken)) == {2} for taken in rounds.values())
        assert Ledger(path).spent(DELTA) <= 50


@pytest.mark.parametrize(
    ("stage", "strategy"),
    [
        ("released", "banded"),
        ("saved", "tree"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [("saved", "banded"), ("released", "tree")]),
        *(pytest.param("done", strategy, marks=pytest.mark.slow) for strategy in ("banded", "tree")),
    ],
)
def test_a_run_that_crashed_goes_on_with_the_same_stream(make_bench, monkeypatch, stage, strategy):
    settings = (*SEEDED, f"privacy.correlation={strategy}", "privacy.popularity_share=0")
    uninterrupted, broken = make_bench("whole"), make_bench("broken")
    whole, whole_folder = uninterrupted.train(*settings), uninterrupted.folder
    crash(broken, stage, 2, monkeypatch, settings)
    assert isinstance(ledger_of(broken).entries()[-1], Outcome) == (stage == "done")  # of what was lost there is none
    resumed = broken.train(*settings)
    assert resumed.state.round == ROUNDS
    for name, tensor in whole.state.shared.items():
        assert torch.equal(resumed.state.shared[name], tensor), name
    ledger = ledger_of(broken)
    rounds = [charge.round for charge in ledger.charges()]
    assert rounds == [1, 2, 3, 4]  # a round that is asked again is asked for the same, and charged once
    commits = [entry for entry in ledger.entries() if getattr(entry, "kind", None) == "commit"]
    assert len(commits) == ROUNDS
    assert ledger.spent(DELTA) == pytest.approx(Ledger(whole_folder / "ledger.jsonl").spent(DELTA))


def test_a_round_of_a_stream_that_was_abandoned_is_asked_again_of_the_same_users_for_the_same_model(make_bench):
    settings = (*SEEDED, "privacy.correlation=banded", "privacy.popularity_share=0", "federation.minimum_replies=1.0")
    undisturbed, disturbed = make_bench("whole"), make_bench("disturbed")
    whole = undisturbed.train(*settings).state
    path = disturbed.folder / "nodes" / "node-000000" / "policy.toml"
    willing, reports = path.read_text(), []

    def withdraw_for_a_round(report: RoundReport, state: RunState) -> None:
        reports.append(report)
        if report.abandoned:
            path.write_text(willing)
        elif report.round == 1:
            path.write_text(replace(Policy.load(path), min_noise_multiplier=99.0).to_toml())

    state = disturbed.train(*settings, hooks=Hooks(on_round=withdraw_for_a_round)).state
    assert [report.round for report in reports if report.abandoned] == [2]
    assert state.round == ROUNDS
    for name, tensor in whole.shared.items():
        assert torch.equal(state.shared[name], tensor), name
    assert [charge.round for charge in ledger_of(disturbed).charges()] == [1, 2, 3, 4]


def test_the_key_is_the_owner_s_alone_outlives_a_crash_and_goes_with_the_stream(bench, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    settings = (*SETTINGS, "privacy.correlation=banded")
    crash(bench, "done", 2, monkeypatch, settings)
    key, path = key_of(bench), bench.folder / "checkpoints" / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for file in [file for file in bench.folder.rglob("*") if file.is_file() and file != path]:
        assert key not in file.read_bytes(), file
        assert key.hex() not in file.read_text("latin-1"), file
    kept = []
    bench.train(*settings, hooks=Hooks(on_round=lambda report, state: kept.append((key_of(bench), repr(state)))))
    assert [found for found, _ in kept] == [key, key, None]  # of the round that nobody had been told of first
    assert not any(repr(key) in text for _, text in kept)
    assert repr(key) not in caplog.text
    assert key.hex() not in caplog.text


def test_a_round_that_has_been_released_is_not_released_under_the_same_noise_again(bench, monkeypatch):
    settings = (*SEEDED, "privacy.correlation=banded")
    crash(bench, "done", 2, monkeypatch, settings)
    (bench.folder / "checkpoints" / "round-000002.safetensors").unlink()
    shutil.rmtree(bench.folder / "checkpoints" / "journal")
    before = (bench.folder / "ledger.jsonl").read_bytes()
    with pytest.raises(LedgerError, match=r"round 2 .* has been released"):
        bench.train(*settings)
    assert (bench.folder / "ledger.jsonl").read_bytes() == before


def test_an_outcome_that_a_crash_held_back_is_written_before_the_run_goes_on(bench, monkeypatch):
    """Else a checkpoint that is removed later would let the round be repeated after its model was shown."""
    settings = (*SEEDED, "privacy.correlation=banded", "privacy.popularity_share=0")
    crash(bench, "saved", 2, monkeypatch, settings)
    assert ledger_of(bench).entries()[-1].round == 2

    def dying(self, number):
        raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(Releases, "affords", dying)
        with pytest.raises(Interrupt):
            bench.train(*settings)
    assert ledger_of(bench).entries()[-1].kind == "commit"
    (bench.folder / "checkpoints" / "round-000002.safetensors").unlink()
    shutil.rmtree(bench.folder / "checkpoints" / "journal")
    with pytest.raises(LedgerError, match="has been released"):
        bench.train(*settings)


def test_a_stream_whose_key_is_lost_cannot_go_on(bench, monkeypatch):
    settings = (*SETTINGS, "privacy.correlation=tree")
    crash(bench, "done", 2, monkeypatch, settings)
    (bench.folder / "checkpoints" / KEY_FILE).unlink()
    with pytest.raises(LedgerError, match=r"key .* is lost"):
        bench.train(*settings)


def test_a_stream_goes_on_by_the_mechanism_that_it_was_begun_with(bench, monkeypatch):
    settings = (*SEEDED, "privacy.correlation=banded", "privacy.noise_multiplier=3.0")
    crash(bench, "done", 2, monkeypatch, settings)
    for change in ("privacy.separation=3", "privacy.clip_norm=2.0", "privacy.correlation=tree", "training.rounds=5"):
        with pytest.raises(LedgerError, match="another mechanism"):
            bench.train(*settings, change)


def test_what_is_released_beside_the_stream_composes_with_it(bench):
    outcome = bench.train(*SETTINGS, "privacy.correlation=banded", "training.evaluation_share=0.3")
    ledger = ledger_of(bench)
    assert [charge.name for charge in ledger.charges()] == ["popularity", *["training"] * ROUNDS, "ranks"]
    single = [replace(event, steps=1) for event in (ledger.events()[i] for i in (0, 1, -1))]
    assert ledger.spent(DELTA) == pytest.approx(epsilon_pld(single, DELTA), rel=1e-3)
    assert outcome.state.ranks is not None
    assert key_of(bench) is None
