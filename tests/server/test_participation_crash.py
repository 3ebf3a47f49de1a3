"""Who was asked how often is known after a crash in any state, a damaged checkpoint and a rollback."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedrec.faults import Fault, FaultPlan, InjectedCrashError, What
from fedrec.flower.journal import Aggregated
from fedrec.flower.participation import Participation
from fedrec.flower.terms import Terms
from fedrec.models.split import SharedState
from server.checkpoint import Checkpoints
from server.journal import FileJournal
from tests.server.small_run import CATALOGUE, FIRST, SmallRun

PLACES = ["round.opened", "round.collected", "round.aggregated", "round.stepped", "checkpoint.written", "round.told"]


@dataclass
class BoundedRun(SmallRun):
    """One whose users are asked at most twice."""

    rate: float = 0.4

    def _terms(self) -> Terms:
        terms = super()._terms()
        bounds = {"maximum_participations": 3, "minimum_replies": 0.01}
        return replace(terms, federation=terms.federation.model_copy(update=bounds))


def account_of(run: SmallRun) -> tuple[int, list[int], list[int]]:
    known = run.latest().participation
    return known.turn, known.last.tolist(), known.times.tolist()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> BoundedRun:
    run = BoundedRun(tmp_path_factory.mktemp("whole"))
    run.play()
    return run


@pytest.mark.fault
@pytest.mark.parametrize("where", PLACES)
def test_a_crash_forgets_nobody_who_was_asked_and_counts_nobody_twice(tmp_path, whole, where):
    run = BoundedRun(tmp_path)
    with pytest.raises(InjectedCrashError):
        run.play(FaultPlan(faults=(Fault(where=where, what=What.CRASH, nth=3),)))
    run.play()
    assert account_of(run) == account_of(whole)


@pytest.mark.fault
def test_an_earlier_checkpoint_finds_in_the_journal_whom_the_rounds_since_had_asked(tmp_path, whole):
    run = BoundedRun(tmp_path)
    run.play()
    newest = max((tmp_path / "checkpoints").glob("round-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    run.play()
    assert account_of(run) == account_of(whole)


def test_the_journal_keeps_a_cohort_where_it_is_asked_to(tmp_path, whole):
    journal, report = FileJournal(tmp_path), whole.reports[-1]
    for number, cohort in ((1, np.array([2, 5])), (2, None)):
        mean = SharedState(dict(FIRST))
        journal.aggregate(Aggregated(run_id="run", number=number, mean=mean, report=report, cohort=cohort))
    assert journal.aggregated("run", 1).cohort.tolist() == [2, 5]
    assert journal.aggregated("run", 2).cohort is None


def test_a_checkpoint_keeps_it_and_one_of_before_has_none(tmp_path, whole):
    state = whole.latest()
    kept = Checkpoints(tmp_path, CATALOGUE)
    kept.save(replace(state, participation=Participation.none(9).after(np.array([1, 8]))))
    assert kept.latest(FIRST).participation.times.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 1]
    kept.save(replace(state, participation=None))
    assert kept.latest(FIRST).participation is None
